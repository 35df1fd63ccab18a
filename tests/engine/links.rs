//! Symbolic links that work, and sources behind links that somebody may have planted.

use crate::common::{Case, Snapshot, User, Verdict, case, output};
use crate::probe::{pair, sh, text};
use std::fs;
use std::os::unix::fs::symlink;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(the_systems_links_work),
        case!(destinations_behind_the_sandboxs_links),
        case!(destinations_in_the_hosts_directories),
        case!(a_home_behind_a_link),
        case!(a_working_directory_behind_a_link),
        case!(links_into_a_store),
        case!(trusted_links_to_a_source),
        case!(a_planted_link_to_a_source),
        case!(a_planted_link_in_any_spelling),
        case!(a_run_cannot_widen_the_next),
    ]
}

fn the_systems_links_work(user: &User) -> Verdict {
    for (name, target) in
        [("/bin", "usr/bin"), ("/sbin", "usr/sbin"), ("/lib", "usr/lib"), ("/lib64", "usr/lib64")]
    {
        if fs::read_link(name).is_ok() {
            sh(user, &[], &format!("readlink {name}; ls {name}/ >/dev/null"))?
                .exits(0)?
                .stdout_is(&format!("{target}\n"))?;
        }
    }
    output(user.sbx().arg("/bin/true"))?.exits(0)?;
    sh(user, &[], "echo x >/run/x && cat /var/run/x && readlink /var/run")?
        .exits(0)?
        .stdout_is("x\n/run\n")?;
    Ok(())
}

fn destinations_behind_the_sandboxs_links(user: &User) -> Verdict {
    let file = user.put("file", "found\n")?;
    let script = "cat /run/foo /run/dir/foo /usr/bin/true /etc/../bin/true";
    let [one, two, three] = ["/var/run/foo", "/var/run/dir/foo", "/bin/true"].map(|dest| pair(&file, dest));
    sh(user, &["--ro", &one, "--ro", &two, "--ro", &three], script)?
        .exits(0)?
        .stdout_is(&"found\n".repeat(4))?;
    Ok(())
}

fn destinations_in_the_hosts_directories(user: &User) -> Verdict {
    let file = user.put("file", "")?;
    for dest in ["/bin/no-such-tool", "/usr/share/no-such-directory/deep/file"] {
        let out = output(user.sbx().args(["--ro", &pair(&file, dest), "true"]))?;
        out.exits(125)?.stderr_has("where sbx makes nothing\n  hint: ")?;
        if fs::symlink_metadata(dest).is_ok() {
            return Err(format!("{dest} was made").into());
        }
    }
    Ok(())
}

fn a_home_behind_a_link(user: &User) -> Verdict {
    let link = user.dir().join("home-link");
    user.put("home/.profile", "secret\n")?;
    symlink(user.home(), &link)?;
    let before = Snapshot::of(user.home())?;
    for start in [user.project(), user.dir().to_owned()] {
        let mut command = user.sbx();
        command.env("HOME", &link).current_dir(&start).args(["--cwd", "none", "sh", "-c"]);
        let out = output(command.arg("cd && pwd && echo $HOME && ls -A && : >mine && ls"))?;
        out.exits(0)?.stdout_is(&format!("{0}\n{0}\nmine\n", link.display()))?;
    }
    before.same_as(&Snapshot::of(user.home())?)?;
    // The home itself is never given as the working directory, however it is spelled.
    let out = output(user.sbx().env("HOME", &link).current_dir(user.home()).arg("true"))?;
    out.exits(125)?.stderr_has("is your home directory")?;
    Ok(())
}

fn a_working_directory_behind_a_link(user: &User) -> Verdict {
    user.put("home/project/file", "found\n")?;
    let link = user.dir().join("project-link");
    symlink(user.project(), &link)?;
    let mut command = user.command("sh");
    command.args(["-c", "cd \"$0\" && exec \"$@\""]).arg(&link).arg(user.sbx_path());
    let out = output(command.args(["sh", "-c", "pwd; cat file; echo new >made"]))?;
    out.exits(0)?.stdout_is(&format!("{}\nfound\n", user.project().display()))?;
    out.check(user.project().join("made").exists(), || "written on the host".to_owned())?;
    Ok(())
}

/// As NixOS has it: a configuration that is nothing but links into a store.
fn links_into_a_store(user: &User) -> Verdict {
    user.put("store/abc-conf/hosts", "from the store\n")?;
    user.put("store/def-tool/bin/tool", "#!/bin/sh\necho a tool\n")?;
    user.mkdir("etc")?;
    let dir = user.dir();
    symlink("../store/abc-conf", dir.join("etc/static"))?;
    symlink("static/hosts", dir.join("etc/hosts"))?;
    symlink(dir.join("store/def-tool"), dir.join("current"))?;
    let profile = user.put(
        "store.toml",
        format!(
            "schema = 1\n[filesystem]\nread = [\"{0}/store\", \"{0}/etc/hosts\", \"{0}/etc/static\", \"{0}/current\"]\n",
            dir.display()
        ),
    )?;
    let script = format!("cd {} && cat etc/hosts etc/static/hosts && sh current/bin/tool", dir.display());
    sh(user, &["-p", &text(profile)], &script)?
        .exits(0)?
        .stdout_is("from the store\nfrom the store\na tool\n")?;
    Ok(())
}

fn trusted_links_to_a_source(user: &User) -> Verdict {
    user.put("real/file", "found\n")?;
    let dir = user.dir();
    symlink("real", dir.join("one"))?;
    symlink(dir.join("one"), dir.join("two"))?;
    user.mkdir("below")?;
    symlink("../below/../two/file", dir.join("below/three"))?;
    for (source, path) in [("one", "/e/file"), ("two", "/e/file"), ("below/three", "/e")] {
        sh(user, &["--ro", &pair(dir.join(source), "/e")], &format!("cat {path}"))?
            .exits(0)?
            .stdout_is("found\n")?;
    }
    let out = sh(user, &["--rw", &pair(dir.join("two"), "/e")], "echo new >/e/file")?;
    out.exits(0)?.check(fs::read_to_string(dir.join("real/file"))? == "new\n", || "written".to_owned())?;
    Ok(())
}

fn a_planted_link_to_a_source(user: &User) -> Verdict {
    user.put("home/.ssh/id", "secret\n")?;
    user.mkdir("w/sub")?;
    let dir = user.dir();
    let (w, link) = (dir.join("w"), dir.join("w/sub/data"));
    symlink(user.home().join(".ssh"), &link)?;
    let (writable, behind) = (pair(&w, "/w"), pair(&link, "/d"));
    let file = pair(link.join("id"), "/d/id");
    let named = format!("cannot bind through a symlink in `{}`", dir.join("w/sub").display());
    for options in [
        ["--rw", &writable, "--ro", &behind],
        ["--ro", &behind, "--rw", &writable],
        ["--rw", &behind, "--rw", &writable],
        ["--rw", &writable, "--ro", &file],
    ] {
        let out = sh(user, &options, "cat /d/id")?;
        out.exits(125)?.stdout_is("")?.stderr_has(&named)?.stderr_has("\n  hint: ")?;
    }
    // Where the sandbox can't write it can't have planted anything.
    sh(user, &["--ro", &writable, "--ro", &behind], "cat /d/id")?.exits(0)?.stdout_is("secret\n")?;
    Ok(())
}

fn a_planted_link_in_any_spelling(user: &User) -> Verdict {
    user.put("home/.ssh/id", "secret\n")?;
    user.mkdir("w/deep/er")?;
    user.mkdir("elsewhere")?;
    let dir = user.dir();
    symlink("../../../home/.ssh", dir.join("w/deep/er/relative"))?;
    symlink("deep/er/relative", dir.join("w/chained"))?;
    symlink("../w/chained", dir.join("elsewhere/trusted"))?;
    symlink(dir.join("w"), dir.join("elsewhere/alias"))?;
    symlink("/proc/self/root/etc", dir.join("w/magic"))?;
    for (writable, source) in [
        ("w", "w/deep/er/relative"),
        ("w", "w/chained"),
        ("w", "w/../w/chained"),
        ("w", "elsewhere/trusted"),
        ("w", "elsewhere/alias/chained"),
        ("elsewhere/alias", "w/chained"),
        ("w/deep", "w/chained"),
        ("w", "w/magic"),
    ] {
        let (writable, source) = (pair(dir.join(writable), "/w"), pair(dir.join(source), "/d"));
        let out = sh(user, &["--rw", &writable, "--ro", &source], "ls /d")?;
        out.exits(125)?.stdout_is("")?;
    }
    // The working directory is writable as well.
    symlink(user.home().join(".ssh"), user.project().join("data"))?;
    let out = sh(user, &["--ro", "data:/d"], "ls /d")?;
    out.exits(125)?.stdout_is("")?.stderr_has("and may have planted it")?;
    Ok(())
}

fn a_run_cannot_widen_the_next(user: &User) -> Verdict {
    let secret = user.put("home/.ssh/id", "secret\n")?;
    user.put("home/project/data/file", "harmless\n")?;
    let given = ["--ro", "data:/d"];
    sh(user, &given, "cat /d/file")?.exits(0)?.stdout_is("harmless\n")?;
    let plant = format!("rm -r data && ln -s {} data", user.home().join(".ssh").display());
    sh(user, &["--net", "none"], &plant)?.exits(0)?;
    sh(user, &given, "cat /d/id")?.exits(125)?.stdout_is("")?;
    sh(user, &["--rw", "data:/d"], "echo gone >/d/id")?.exits(125)?.stdout_is("")?;
    let kept = fs::read_to_string(secret)? == "secret\n";
    if kept { Ok(()) } else { Err("the second run wrote through the link".into()) }
}
