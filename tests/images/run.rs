//! How an image runs: what it says are defaults, and nothing of it widens the sandbox.

use crate::common::{Case, Need, Running, User, Verdict, case, output};
use crate::stage::{Layer, busybox, import, layout, run, stored};

pub(crate) fn cases() -> Vec<Case> {
    let all = vec![
        case!(defaults),
        case!(users),
        case!(layers_are_in_use),
        case!(the_store_is_out_of_reach),
        case!(absent),
        case!(of_a_profile),
        case!(served_by_fuse_overlayfs)
            .needs(Need::Program("fuse-overlayfs"))
            .needs(Need::Device("/dev/fuse")),
    ];
    all.into_iter().map(|case| case.needs(Need::Program("busybox"))).collect()
}

fn stage(user: &User, name: &str, config: &str, top: Layer) -> Verdict {
    let image = layout(user, &format!("{name}-layout"), vec![busybox()?.into(), top.into()], config)?;
    import(user, &image, &[name])?.exits(0)?;
    Ok(())
}

fn defaults(user: &User) -> Verdict {
    let config = r#""Entrypoint":["/bin/sh","-c"],"Cmd":["pwd; echo $A $B $PATH"],"Env":["A=image","B=image","PATH=/bin","HOME=/no","bad"],"WorkingDir":"/srv/here""#;
    stage(user, "all", config, Layer::default().file("top", "x"))?;
    run(user, "all", &[])?.exits(0)?.stdout_is("/srv/here\nimage image /bin\n")?;
    run(user, "all", &["--env", "B=mine"])?.exits(0)?.stdout_is("/srv/here\nimage mine /bin\n")?;
    run(user, "all", &["--set", "environment.set={ A = 'profile' }"])?
        .stdout_is("/srv/here\nprofile image /bin\n")?;
    // A command stands in the place of the image's, after its entry point.
    run(user, "all", &["cat /etc/passwd; exit 7"])?.exits(7)?.stdout_has("somebody:x:4242")?;
    run(user, "all", &["--chdir", "/etc", "pwd"])?.exits(0)?.stdout_is("/etc\n")?;
    // Its home is the sandbox's.
    let home = format!("{}\n", user.home().display());
    run(user, "all", &["echo $HOME"])?.exits(0)?.stdout_is(&home)?;
    stage(user, "none", "", Layer::default().file("top", "x"))?;
    run(user, "none", &["/bin/cat", "/top"])?.exits(0)?.stdout_is("x")?;
    run(user, "none", &[])?.exits(125)?.stderr_has("cannot run nothing: no command is given")?;
    stage(user, "nul", r#""Cmd":["/bin/echo","a\u0000b"]"#, Layer::default().file("top", "x"))?;
    run(user, "nul", &[])?.exits(125)?.stderr_has("its configuration holds a NUL")?;
    let explained = output(user.sbx().args(["explain", "--root", "image:all"]))?;
    explained.exits(0)?.stdout_has("/bin/sh -c pwd")?.stdout_has("/srv/here")?;
    Ok(())
}

fn users(user: &User) -> Verdict {
    let named = |user: &str| format!(r#""User":"{user}","Cmd":["/bin/id","-u"]"#);
    let own = user.uid().to_string();
    for name in ["", "0", "root", "root:root", "0:0", &format!("{}:{}", user.uid(), user.gid())] {
        stage(user, "fine", &named(name), Layer::default().file("top", "x"))?;
        run(user, "fine", &[])?.exits(0)?.stdout_is(&format!("{own}\n"))?;
    }
    run(user, "fine", &["--set", "privileges.uid=root"]).and_then(|out| {
        let mine = if user.is_root() { 0 } else { 125 };
        out.exits(mine).map(drop)
    })?;
    for (name, why) in [
        ("somebody", "no uid but"),
        ("4242:4343", "not 4242 and 4343"),
        ("7", "not 7 and 0"),
        ("nobody", "its /etc/passwd has no such user"),
        ("root:strangers", "its /etc/group has no such group"),
    ] {
        stage(user, "other", &named(name), Layer::default().file("top", "x"))?;
        let out = run(user, "other", &[])?;
        out.exits(125)?.stdout_is("")?.stderr_has(why)?;
    }
    stage(user, "other", &named("somebody"), Layer::default().file("top", "x"))?;
    run(user, "other", &[])?.stderr_has("hint: map more ids by `privileges.uid = \"subordinate\"`")?;
    // The database is that of the topmost layer, also where that is a link to the host's.
    stage(user, "link", &named("daemon"), Layer::default().link("etc/passwd", b"/etc/passwd"))?;
    run(user, "link", &[])?
        .exits(125)?
        .stdout_is("")?
        .stderr_has("cannot run as the image's user `daemon`")?;
    stage(user, "gone", &named("somebody"), Layer::default().file("etc/.wh.passwd", ""))?;
    run(user, "gone", &[])?.exits(125)?.stderr_has("has no such user")?;
    Ok(())
}

/// Layers that a sandbox has are not removed, and those of nobody are.
fn layers_are_in_use(user: &User) -> Verdict {
    stage(user, "used", "", Layer::default().file("top", "x"))?;
    let mut command = user.sbx();
    command.args(["--quiet", "--root", "image:used", "/bin/sh", "-c", "echo >started; read x; cat /top"]);
    command.stdin(std::process::Stdio::piped());
    let running = Running::start(&mut command)?;
    let started = user.project().join("started");
    crate::common::wait_for("its start", || started.exists().then_some(()))?;
    output(user.sbx().args(["image", "rm", "used"]))?.exits(0)?;
    output(user.sbx().args(["image", "gc"]))?.exits(0)?.stdout_is("0 layers removed, 2 still in use\n")?;
    running.signal(nix::sys::signal::Signal::SIGTERM)?;
    drop(running.finish()?);
    crate::common::wait_for("the layers to be free", || {
        output(user.sbx().args(["image", "gc"])).ok().filter(|_| stored(user).is_empty())
    })?;
    Ok(())
}

/// Who could write there would decide what the next sandbox runs.
fn the_store_is_out_of_reach(user: &User) -> Verdict {
    stage(user, "x", "", Layer::default().file("top", "x"))?;
    let store = user.home().join(".local/share");
    let share = store.to_string_lossy().into_owned();
    let script = format!("echo bad > {share}/sbx/images/images/x:latest.json && echo written");
    let out = run(user, "x", &["--rw", &share, "/bin/sh", "-c", &script])?;
    out.stdout_lacks("written")?;
    output(user.sbx().args(["image", "show", "x"]))?.exits(0)?;
    // What the sandbox writes in its root is gone with it.
    run(user, "x", &["/bin/sh", "-c", "echo bad > /top && rm /etc/passwd"])?.exits(0)?;
    run(user, "x", &["/bin/cat", "/top", "/etc/passwd"])?.exits(0)?.stdout_has("xroot:x:0")?;
    Ok(())
}

fn absent(user: &User) -> Verdict {
    run(user, "nothing", &["true"])?.exits(125)?.stderr_has("cannot find the image `nothing`")?;
    run(user, "../x", &["true"])?.exits(125)?.stderr_has("cannot call an image `../x`")?;
    stage(user, "half", "", Layer::default().file("top", "x"))?;
    let gone = stored(user).pop().ok_or("no layers")?;
    std::fs::rename(&gone, gone.with_extension("away"))?;
    run(user, "half", &["true"])?.exits(125)?.stderr_has("cannot use the image store")?;
    Ok(())
}

/// What layers hide is hidden by whatever stacks them.
fn served_by_fuse_overlayfs(user: &User) -> Verdict {
    let first = busybox()?.dir("d/", 0o755).file("d/gone", "x").file("d/kept", "x").file("gone", "x");
    let first =
        first.dir("anew/", 0o755).file("anew/old", "x").dir("anew/sub/", 0o755).file("anew/sub/old", "x");
    let second = Layer::default().file(".wh.gone", "").file("d/.wh.gone", "");
    let second = second.dir("anew/", 0o711).file("anew/.wh..wh..opq", "").file("anew/new", "y");
    let image = layout(user, "layout", vec![first.into(), second.into()], "")?;
    import(user, &image, &["x"])?.exits(0)?;
    let look = "cd /; find d anew gone 2>/dev/null | sort; stat -c %a anew; echo z >anew/old; cat anew/old";
    let by = |driver: &str| {
        let set = format!("filesystem.overlay-driver={driver}");
        run(user, "x", &["--set", &set, "--", "/bin/sh", "-c", look])
    };
    let shown = "anew\nanew/new\nd\nd/kept\n711\nz\n";
    by("kernel")?.exits(0)?.stdout_is(shown)?;
    by("fuse-overlayfs")?.exits(0)?.stdout_is(shown)?;
    Ok(())
}

fn of_a_profile(user: &User) -> Verdict {
    stage(user, "x", r#""Env":["A=image"]"#, Layer::default().file("top", "x"))?;
    let profile = user.put("p.toml", "schema = 1\n[filesystem]\nroot = \"image:x\"\ncwd = \"none\"\n")?;
    let out =
        output(user.sbx().arg("--quiet").arg("--profile").arg(profile).args(["/bin/sh", "-c", "echo $A"]))?;
    out.exits(0)?.stdout_is("image\n")?;
    Ok(())
}
