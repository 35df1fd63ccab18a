//! Nothing reaches the directory.

use crate::common::{Case, Need, Snapshot, User, Verdict, case, output};
use crate::stage::{given, kept, names, over, same, tree};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(every_way_to_write).needs(Need::Program("python3")),
        case!(the_working_directory),
        case!(a_profile_says_it),
        case!(names_of_every_kind),
        case!(through_a_link),
        case!(the_directory_itself),
        case!(no_device_and_no_set_id),
        case!(directories_stay_in_place),
        case!(it_is_explained),
    ]
}

/// Ways to change something, each with what a look afterwards says inside.
const WAYS: [(&str, &str); 18] = [
    ("create", "echo x >new && cat new"),
    ("write", "echo x >file && cat file"),
    ("append", "echo x >>file && tail -n 1 file"),
    ("through a link", "echo x >link && cat file"),
    ("truncate", "truncate -s 1 large && stat -c %s large"),
    ("delete", "rm file && ls file 2>&1 | tail -c 10"),
    ("delete a directory", "rm -r directory && mkdir directory && ls -A directory | wc -l"),
    ("rename", "mv file renamed && cat renamed"),
    ("rename over", "mv file other && cat other"),
    ("mode", "chmod 600 file && stat -c %a file"),
    ("mode of a directory", "chmod 700 directory && stat -c %a directory"),
    ("mode of all", "chmod 700 . && stat -c %a ."),
    ("link", "ln file third && echo x >third && cat third"),
    ("symlink", "ln -sf other link && cat link"),
    ("time", "touch -d @1 file && stat -c %Y file"),
    (
        "attribute",
        "python3 -c 'import os; os.setxattr(\"file\", \"user.x\", b\"y\"); print(os.getxattr(\"file\", \"user.x\"))'",
    ),
    (
        "mapped",
        "python3 -c 'import mmap; f = open(\"large\", \"r+b\"); m = mmap.mmap(f.fileno(), 0); m[0:1] = b\"M\"; m.flush(); print(1)'",
    ),
    (
        "without a name",
        // Overlays have such files since Linux 6.1.
        "python3 -c 'import os
try: f = os.open(\".\", os.O_TMPFILE | os.O_RDWR); os.link(f\"/proc/self/fd/{f}\", \"named\", src_dir_fd=0, follow_symlinks=True)
except OSError: f = os.open(\"named\", os.O_CREAT | os.O_RDWR)
os.write(f, b\"x\"); print(open(\"named\").read())'",
    ),
];

/// What a snapshot does not tell: extended attributes, and the directory's own mode.
const REST: &str =
    "stat -c %a .; python3 -c 'import os; print(os.listxattr(\"file\") if os.path.exists(\"file\") else 0)'";

fn every_way_to_write(user: &User) -> Verdict {
    stays_apart(user, &["-q"])
}

/// No way to write reaches a directory that an overlay with these options is over; each reaches one that is bound.
pub(crate) fn stays_apart(user: &User, options: &[&str]) -> Verdict {
    for (number, (name, way)) in WAYS.iter().enumerate() {
        let tree = tree(user, format!("tree-{number}"))?;
        let rest = || output(user.command("sh").current_dir(&tree).args(["-c", REST])).map(|out| out.text());
        let (before, said) = (Snapshot::with_times(&tree)?, rest()?);
        let inside = over(user, &tree, options, way)?;
        inside.exits(0)?.stderr_is("")?;
        before.same_as(&Snapshot::with_times(&tree)?)?;
        same(rest()?, said.clone(), name)?;
        // The same way reaches a directory that is bound, and looks the same there.
        let mut bound = user.edited("bound");
        let control = output(given(&mut bound, &tree).args(["sh", "-c", way]))?;
        control.exits(0)?.stdout_is(&inside.text())?;
        let unchanged = before.difference(&Snapshot::with_times(&tree)?).is_empty() && rest()? == said;
        control.check(!unchanged, || format!("{name} should reach it without an overlay"))?;
    }
    Ok(())
}

fn the_working_directory(user: &User) -> Verdict {
    let tree = tree(user, "home/project")?;
    let before = Snapshot::with_times(&tree)?;
    for options in [&["--cwd", "overlay"][..], &["--overlay", "."], &["--set", "filesystem.cwd=overlay"]] {
        let out = output(user.sbx().args(options).args(["sh", "-c", "pwd; echo x >file; cat file"]))?;
        out.exits(0)?.stdout_is(&format!("{}\nx\n", tree.display()))?;
        out.stderr_has("0 new, 1 changed, 0 removed")?;
        before.same_as(&Snapshot::with_times(&tree)?)?;
    }
    same(names(user)?, ["project-1", "project-2", "project-3"].map(str::to_owned).to_vec(), "the layers")?;
    let refused = output(user.sbx().current_dir(user.home()).args(["--cwd", "overlay", "echo", "ran"]))?;
    refused.exits(125)?.stdout_is("")?.stderr_has("is your home directory")?;
    Ok(())
}

fn a_profile_says_it(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let profile = format!(
        "schema = 1\n[filesystem]\noverlay = [\"{}\", {{ path = \"/nonexistent/x\", optional = true }}]\n",
        tree.display()
    );
    let profile = user.put("profile.toml", profile)?;
    let before = Snapshot::with_times(&tree)?;
    let script = format!("cd {} && rm file && ls", tree.display());
    let mut sbx = user.sbx();
    output(sbx.arg("--profile").arg(&profile).args(["sh", "-c", &script]))?
        .exits(0)?
        .stdout_is("dangling\ndirectory\nlarge\nlink\nother\nsecond\n")?;
    before.same_as(&Snapshot::with_times(&tree)?)
}

/// Commas, colons and backslashes are separators to the kernel; a layer's name has none of them.
fn names_of_every_kind(user: &User) -> Verdict {
    let directories: [&[u8]; 7] = [b"a,b", b"a:b", b"a\\b", b"a b", b"a\nb", b"a\xff\xfeb", b".-a"];
    for name in directories {
        let tree = tree(user, OsStr::from_bytes(name))?;
        let before = Snapshot::with_times(&tree)?;
        let out = over(user, &tree, &[], "echo x >file; rm other; cat file")?;
        out.exits(0)?.stdout_is("x\n")?.stderr_has("0 new, 1 changed, 1 removed")?;
        before.same_as(&Snapshot::with_times(&tree)?)?;
    }
    let wanted = ["a-1", "a__b-1", "a_b-1", "a_b-2", "a_b-3", "a_b-4", "a_b-5"].map(str::to_owned).to_vec();
    same(names(user)?, wanted, "the layers")
}

/// The directory is where the link leads, and has the link's name inside.
fn through_a_link(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let link = user.dir().join("to-tree");
    output(user.command("ln").arg("-s").arg(&tree).arg(&link))?.exits(0)?;
    let before = Snapshot::with_times(&tree)?;
    let script = format!("echo x >file; pwd; ls {} 2>&1", tree.display());
    let out = over(user, &link, &[], &script)?;
    out.stdout_has(&format!("{}\n", link.display()))?.stdout_has("No such file")?;
    before.same_as(&Snapshot::with_times(&tree)?)
}

/// It has the mode that it has, and what is done to it alone is kept, too.
fn the_directory_itself(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    fs::set_permissions(&tree, fs::Permissions::from_mode(0o1750))?;
    over(user, &tree, &[], "stat -c %a .")?.stdout_is("1750\n")?.stderr_is("")?;
    same(names(user)?, Vec::new(), "nothing changed, the layers")?;
    over(user, &tree, &["-q"], "chmod 700 .")?.exits(0)?;
    same(names(user)?, vec!["tree-1".to_owned()], "the layers")?;
    same(fs::metadata(&tree)?.permissions().mode() & 0o7777, 0o1750, "the directory's mode")
}

fn no_device_and_no_set_id(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let out = over(
        user,
        &tree,
        &["-q"],
        "grep \" $PWD \" /proc/self/mountinfo | cut -d' ' -f6; mknod null c 1 3; cp /bin/true x; chmod 4755 x; stat -c %a x",
    )?;
    let options = out.text();
    out.check(options.contains("nosuid") && options.contains("nodev"), || "nosuid, nodev".to_owned())?;
    out.check(!options.contains("4755"), || "set-id modes should be refused".to_owned())?;
    same(kept(user).join("tree-1/upper/null").exists(), false, "a device node")
}

/// What `userxattr` rules out, and mv(1) makes up for by copying.
fn directories_stay_in_place(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let rename = "perl -e 'rename \"directory\", \"other-one\" or die \"$!\\n\"'";
    over(user, &tree, &["-q"], rename)?.stderr_is("Invalid cross-device link\n")?;
    over(user, &tree, &["-q"], "mv directory moved && cat moved/inner && ls -d directory")?
        .stdout_is("inner\n")?;
    over(user, &tree, &["-q"], "mkdir own && mv own moved && ls -d moved")?.stdout_is("moved\n")?;
    Ok(())
}

/// No layer is made for that.
fn it_is_explained(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let mut sbx = user.sbx();
    let text = output(given(sbx.arg("explain"), &tree).arg("true"))?;
    text.stdout_has("overlay")?.stdout_has("stays as it is, writes are kept in ")?;
    text.stdout_has("sbx/layers/tree-NUMBER")?.stdout_has("not in an overlay")?;
    let mut sbx = user.sbx();
    let json = output(given(sbx.args(["explain", "--format", "json"]), &tree).arg("true"))?;
    json.stdout_has("\"changes\"")?.stdout_has("\"new\": \"tree\"")?;
    same(names(user)?, Vec::new(), "the layers")
}
