//! What `sbx diff` says.

use crate::common::{Case, Need, User, Verdict, case, output};
use crate::stage::{Ground, NAME, OVERLAY, same, set_attribute, tree};
use nix::fcntl::{Flock, FlockArg};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(a_line_for_each_change).needs(OVERLAY),
        case!(no_change).needs(OVERLAY),
        case!(what_to_look_at_twice).needs(OVERLAY),
        case!(as_json).needs(OVERLAY),
        case!(as_a_patch).needs(OVERLAY).needs(Need::Program("git")),
        case!(a_patch_on_a_terminal).needs(OVERLAY).needs(Need::Program("script")),
        case!(the_newest_of_here),
        case!(paths),
        case!(no_layer),
        case!(in_use),
        case!(of_a_root),
        case!(a_record_that_is_none),
        case!(a_hundred_thousand_files),
    ]
}

const FILL: &str = "mkdir -p d/sub old keep; echo a >a; echo b >b; echo x >d/sub/x; echo y >d/y; echo o >old/o; ln -s a link; echo k >keep/k; echo t >t";

fn a_line_for_each_change(user: &User) -> Verdict {
    let ground = Ground::new(user, FILL)?;
    let merged = ground.change(
        "rm a; echo c >>b; rm -r d; mkdir d; echo n >d/n; mv old new; chmod 700 keep; ln -sfn b link; rm t; mkdir t; echo in >t/in; echo 'a b' >'a b'",
    )?;
    ground.differs(&[
        "D  a",
        "A  a b",
        "M  b",
        "A  d/n",
        "D  d/sub/  (with 1 entry)",
        "D  d/y",
        "M  keep/  (mode 0755 -> 0700)",
        "M  link  (link a -> b)",
        "A  new/",
        "A  new/o",
        "D  old/  (with 1 entry)",
        "T  t/  (file -> directory)",
        "A  t/in",
    ])?;
    // Nothing was touched.
    let before = tree(&ground.dir)?;
    if before == tree(&merged)? { Err("the directory was changed".into()) } else { Ok(()) }
}

/// What was opened for writing, touched, or changed and changed back, was copied up all the same.
fn no_change(user: &User) -> Verdict {
    let ground = Ground::new(user, FILL)?;
    ground.change("touch a d; : >>b; chmod 600 t; chmod 644 t; mv keep/k keep/l; mv keep/l keep/k; echo z >z; rm z; rm link; ln -s a link")?;
    if !ground.layer.join("upper/a").exists() {
        return Err("nothing was copied up".into());
    }
    ground.differs(&[])?;
    // The control: bytes of the same number, and attributes.
    ground.change("echo A >a")?;
    ground.differs(&["M  a"])?;
    set_attribute(&ground.layer.join("upper/b"), "user.x", b"1")?;
    ground.differs(&["M  a", "M  b  (attributes)"])
}

fn what_to_look_at_twice(user: &User) -> Verdict {
    let ground = Ground::new(user, "mkdir -p .git/hooks sub; echo a >a; echo p >plain; chmod 755 plain")?;
    ground.change(
        "for file in a .git/hooks/pre-commit sub/.envrc; do echo '#!/bin/sh' >$file; done; chmod 755 a .git/hooks/pre-commit; echo q >plain
        ln -s ../.. sub/out; ln -s ../a sub/in; ln -s /etc/passwd secret; mkfifo pipe; echo x >\"$(printf 'x\\033[2J\\nD  a')\"; chmod 4755 plain",
    )?;
    ground.differs(&[
        "A  .git/hooks/pre-commit  ! new executable, run or obeyed by other programs",
        "M  a  (mode 0644 -> 0755)  ! new executable",
        "A  pipe  ! special file",
        "M  plain  (mode 0755 -> 4755)  ! set-id",
        "A  secret  (link to /etc/passwd)  ! leads outside",
        "A  sub/.envrc  ! run or obeyed by other programs",
        "A  sub/in  (link to ../a)",
        "A  sub/out  (link to ../..)  ! leads outside",
        "A  x\\x1b[2J\\nD  a  ! odd name",
    ])
}

fn as_json(user: &User) -> Verdict {
    let ground = Ground::new(user, FILL)?;
    ground.change("rm -r d; printf 1 >\"$(printf 'x\\377')\"; chmod 700 keep; echo longer >a")?;
    for arguments in [["diff", "--json"].as_slice(), &["diff", "--format", "json", NAME]] {
        let output = ground.sbx(arguments)?;
        output.exits(0)?.stderr_is("")?;
        let page: serde_json::Value = serde_json::from_str(&output.text())?;
        let expected = serde_json::json!({
            "version": 1,
            "layer": NAME,
            "directory": ground.dir,
            "in-use": false,
            "changes": [
                { "status": "modified", "path": "a", "differs": ["content"], "entries-below": 0, "marks": [],
                  "old": { "kind": "file", "mode": "0644", "size": 2 }, "new": { "kind": "file", "mode": "0644", "size": 7 } },
                { "status": "deleted", "path": "d", "differs": [], "entries-below": 3, "marks": [],
                  "old": { "kind": "directory", "mode": "0755" }, "new": null },
                { "status": "modified", "path": "keep", "differs": ["mode"], "entries-below": 0, "marks": [],
                  "old": { "kind": "directory", "mode": "0755" }, "new": { "kind": "directory", "mode": "0700" } },
                { "status": "added", "path": { "hex": "78ff" }, "differs": [], "entries-below": 0, "marks": [],
                  "old": null, "new": { "kind": "file", "mode": "0644", "size": 1 } },
            ],
        });
        output.check(page == expected, || format!("{expected:#}"))?;
    }
    Ok(())
}

/// git makes of it what the program saw.
fn as_a_patch(user: &User) -> Verdict {
    let ground = Ground::new(user, &format!("{FILL}; seq 100 >numbers; printf 'no end' >end; : >empty"))?;
    let merged = ground.change(
        "sed -i '5d; s/50/fifty/; 90i more' numbers; printf 'no end\\nnow' >end; rm -r d; echo new >'a \"file\"'; chmod 755 b; ln -sfn b link; : >nothing; rm empty",
    )?;
    let patch = ground.sbx(&["diff", "--patch"])?;
    patch.exits(0)?.stderr_is("")?;
    patch.stdout_has("@@ -2,7 +2,6 @@")?.stdout_has("old mode 100644\nnew mode 100755\n")?;
    let file = user.put("the.patch", &patch.stdout)?;
    let copy = user.copy(&ground.dir, "copy")?;
    // A patch knows only whether a file is executable: the umask says the rest, and logins differ in theirs.
    let apply = "umask 022; exec git apply --whitespace=nowarn \"$1\"";
    output(user.command("sh").current_dir(&copy).args(["-c", apply, "sh"]).arg(&file))?.exits(0)?;
    // git makes files anew: times don't count.
    let plain = |dir: &std::path::Path| -> Result<Vec<(std::path::PathBuf, String)>, libtest_mimic::Failed> {
        let time = |text: String| {
            regex_lite::Regex::new(r"\(\d+, \d+\)").map(|time| time.replace_all(&text, "").into_owned())
        };
        tree(dir)?.into_iter().map(|(path, text)| Ok((path, time(text)?))).collect()
    };
    patch.check(plain(&copy)? == plain(&merged)?, || format!("what makes {:?}", plain(&merged)))?;
    ground.change("printf 'x\\0y' >b")?;
    ground.sbx(&["diff", "-p", "--", "b"])?.stdout_has("Binary files a/b and b/b differ\n")?;
    Ok(())
}

/// What a program has written must not reach a terminal, where a file may have it as it is.
fn a_patch_on_a_terminal(user: &User) -> Verdict {
    let ground = Ground::new(user, "")?;
    ground.change("printf 'a\\033]0;title\\007\\tb\\n' >x")?;
    ground.sbx(&["diff", "--patch"])?.stdout_has("+a\x1b]0;title\x07\tb\n")?;
    let line = format!("{} diff --patch", user.sbx_path().display());
    let shown = output(user.command("script").args(["-qec", &line, "/dev/null"]))?;
    shown.exits(0)?.stdout_has("+a\\x1b]0;title\\x07\tb")?.stdout_lacks("\x1b]0;")?;
    Ok(())
}

fn the_newest_of_here(user: &User) -> Verdict {
    let ground = Ground::new(user, "mkdir -p a/b")?;
    user.put(ground.layer.join("upper/old"), "")?;
    let newer = ground.lay("project-2")?;
    user.put(newer.join("upper/new"), "")?;
    let other = user.mkdir("home/other")?;
    let elsewhere = Ground { user, dir: other.clone(), layer: ground.layer.clone() };
    user.put(elsewhere.lay("other-1")?.join("upper/elsewhere"), "")?;
    // Its record can't be read: it is none of this directory's, and no harm to others.
    user.put(ground.layer.with_file_name("broken").join("layer.json"), "{")?;
    ground.differs(&["A  new"])?;
    output(user.sbx().current_dir(ground.dir.join("a/b")).arg("diff"))?.exits(0)?.stdout_is("A  new\n")?;
    output(user.sbx().current_dir(other).arg("diff"))?.stdout_is("A  elsewhere\n")?;
    ground.sbx(&["diff", NAME])?.stdout_is("A  old\n")?;
    Ok(())
}

fn paths(user: &User) -> Verdict {
    let ground = Ground::new(user, "")?;
    for file in ["a", "d/x", "d/y", "dd"] {
        user.put(ground.layer.join("upper").join(file), "")?;
    }
    ground.sbx(&["diff", "--", "d"])?.exits(0)?.stdout_is("A  d/\nA  d/x\nA  d/y\n")?;
    ground.sbx(&["diff", NAME, "d/x", "./a"])?.stdout_is("A  a\nA  d/x\n")?;
    let absolute = ground.dir.join("dd");
    output(user.sbx().args(["diff", NAME]).arg(absolute))?.stdout_is("A  dd\n")?;
    for nowhere in ["e", "../project/a", "/a", "d/x/y"] {
        let words = format!("sbx: error: cannot find a change at `{nowhere}`: there is none\n");
        ground.sbx(&["diff", NAME, nowhere])?.exits(1)?.stdout_is("")?.stderr_has(&words)?;
    }
    Ok(())
}

fn no_layer(user: &User) -> Verdict {
    for verb in ["diff", "apply"] {
        output(user.sbx().arg(verb))?.exits(1)?.stderr_has("cannot find a layer of `")?.stdout_is("")?;
        for name in ["none", "..", "a/b", ".hidden", "", "x\x1b"] {
            output(user.sbx().args([verb, name]))?.exits(1)?.stderr_has("cannot find the layer `")?;
        }
        output(user.sbx().args([verb, "none"]))?
            .stderr_has("  hint: for a path of the newest layer here: -- none\n")?;
        let homeless = output(user.sbx().env("XDG_STATE_HOME", "relative").args([verb, "none"]))?;
        homeless.exits(1)?;
    }
    output(user.sbx().args(["diff", "--patch", "--json"]))?.exits(125)?.stderr_has("cannot ")?;
    Ok(())
}

fn in_use(user: &User) -> Verdict {
    let ground = Ground::new(user, "")?;
    user.put(ground.layer.join("upper/new"), "")?;
    let lock =
        Flock::lock(fs::File::open(&ground.layer)?, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    let warning = "sbx: warning: the layer `project-1` is in use: it may change while it is looked at\n";
    ground.sbx(&["diff"])?.exits(0)?.stdout_is("A  new\n")?.stderr_is(warning)?;
    ground.sbx(&["diff", "-q"])?.stderr_is("")?;
    ground.sbx(&["diff", "--json"])?.stdout_has("\"in-use\": true")?;
    ground.sbx(&["apply"])?.exits(125)?.stdout_is("")?.stderr_has("a sandbox uses it\n  hint: ")?;
    if ground.dir.join("new").exists() {
        return Err("it was applied".into());
    }
    // The control.
    drop(lock);
    ground.sbx(&["apply"])?.exits(0)?;
    if ground.dir.join("new").exists() { Ok(()) } else { Err("it was not applied".into()) }
}

/// A layer that has only a name is compared with nothing, and of no directory.
fn of_a_root(user: &User) -> Verdict {
    let upper = user.home().join(".local/state/sbx/layers/mine/upper");
    user.put(upper.join("etc/new"), "")?;
    output(user.sbx().args(["diff", "mine"]))?.exits(0)?.stdout_is("A  etc/\nA  etc/new\n")?;
    output(user.sbx().args(["apply", "mine"]))?.exits(125)?.stderr_has("it is not of a directory\n")?;
    Ok(())
}

fn a_record_that_is_none(user: &User) -> Verdict {
    let ground = Ground::new(user, "")?;
    let good = fs::read_to_string(ground.layer.join("layer.json"))?;
    for bad in [
        "",
        "{}",
        &good.replace("\"version\": 1", "\"version\": 2"),
        &good.replace("\"created\"", "\"when\""),
    ] {
        user.put(ground.layer.join("layer.json"), bad)?;
        for verb in ["diff", "apply"] {
            ground.sbx(&[verb, NAME])?.exits(125)?.stderr_has("layer.json`: ")?.stdout_is("")?;
        }
    }
    // Another directory in its place.
    user.put(ground.layer.join("layer.json"), &good)?;
    fs::rename(&ground.dir, user.dir().join("moved"))?;
    let gone = output(user.sbx().current_dir(user.dir()).args(["diff", NAME]))?;
    gone.exits(125)?.stderr_has("cannot open the layer's directory `")?;
    user.mkdir(&ground.dir)?;
    ground.sbx(&["diff", NAME])?.exits(125)?.stderr_has("it is another directory now\n  hint: ")?;
    same(&ground.dir, &user.mkdir("empty")?)
}

fn a_hundred_thousand_files(user: &User) -> Verdict {
    let ground = Ground::new(user, "")?;
    for directory in 0..100 {
        let place = user.mkdir(ground.layer.join("upper").join(directory.to_string()))?;
        for file in 0..1000 {
            fs::File::create(place.join(file.to_string()))?;
        }
    }
    let output = ground.sbx(&["diff"])?;
    let lines = output.exits(0)?.stdout.split(|byte| *byte == b'\n').count();
    let sorted: Vec<&[u8]> =
        output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let is_sorted =
        sorted.is_sorted_by_key(|line| std::ffi::OsStr::from_bytes(line.strip_suffix(b"/").unwrap_or(line)));
    if lines == 100_101 && is_sorted {
        Ok(())
    } else {
        Err(format!("{lines} lines, in order: {is_sorted}").into())
    }
}
