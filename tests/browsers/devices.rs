//! Sound and GPUs.

use crate::common::{Case, Running, User, Verdict, output, wait_for_within};
use crate::stage::{PATIENCE, needs, sandbox};
use libtest_mimic::Failed;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        needs(Case::new("devices::sound", sound), &["pulseaudio", "pactl", "paplay"]),
        needs(Case::new("devices::gpu", gpu), &["unshare"]).only_as_root(),
    ]
}

/// Starts a sound server that plays into nothing, at the usual place in a runtime directory.
fn sound_server(user: &User, runtime_dir: &PathBuf) -> Result<Running, Failed> {
    user.mkdir(runtime_dir)?;
    fs::set_permissions(runtime_dir, fs::Permissions::from_mode(0o700))?;
    let socket = user.mkdir(runtime_dir.join("pulse"))?.join("native");
    let mut server = user.command("pulseaudio");
    server.env("XDG_RUNTIME_DIR", runtime_dir);
    server.args([
        "-n",
        "--daemonize=no",
        "--use-pid-file=no",
        "--exit-idle-time=-1",
        "-L",
        "module-null-sink",
        "-L",
    ]);
    let running =
        Running::start(server.arg(format!("module-native-protocol-unix socket={}", socket.display())))?;
    wait_for_within(PATIENCE, "the sound server", || socket.exists().then_some(()))?;
    Ok(running)
}

/// A client finds the sound server and plays; without the key it doesn't, wherever it is told to look.
fn sound(user: &User) -> Verdict {
    let runtime_dir = user.dir().join("run");
    let _server = sound_server(user, &runtime_dir)?;
    let run = |options: &[&str], script: &str| {
        let mut sbx = sandbox(user);
        sbx.env("XDG_RUNTIME_DIR", &runtime_dir).args(options).args(["sh", "-c", script]);
        output(&mut sbx)
    };
    let play = "pactl info && head -c 20000 /dev/zero >~/silence && paplay --raw ~/silence && echo played";
    let played = run(&[], play)?;
    played.exits(0)?.stdout_has("Server Name: pulseaudio")?.stdout_has("played")?.stderr_lacks("sbx: ")?;
    run(&[], "echo \"$PULSE_SERVER\"; test -S \"${PULSE_SERVER#unix:}\"")?.exits(0)?.stdout_has("unix:/")?;
    let without = ["--set", "audio.playback=false"];
    run(&without, "test -z \"$PULSE_SERVER\" && ! pactl info && ! ls \"$XDG_RUNTIME_DIR/pulse/native\"")?
        .exits(0)?;
    let told = format!("PULSE_SERVER=unix:{}/pulse/native pactl info", runtime_dir.display());
    run(&without, &told)?.exits(1)?.stdout_is("")?;
    Ok(())
}

/// A `/dev` with a GPU of two nodes, which are /dev/zero and /dev/null by their numbers.
const WITH_GPU: &str = r#"
mkdir "$DIR/dev"; mount -t tmpfs none "$DIR/dev"
for name in null zero full random urandom tty; do : >"$DIR/dev/$name"; mount --bind "/dev/$name" "$DIR/dev/$name"; done
mkdir "$DIR/dev/pts" "$DIR/dev/dri"; mount --bind /dev/pts "$DIR/dev/pts"
mknod -m 666 "$DIR/dev/dri/renderD128" c 1 5
mknod -m 666 "$DIR/dev/dri/card0" c 1 3
mount --rbind "$DIR/dev" /dev
exec "$@"
"#;

/// The node for drawing works inside and is described in sysfs; the one that sets modes is not there.
fn gpu(user: &User) -> Verdict {
    let run = |options: &[&str], script: &str| {
        let mut outer = user.command("unshare");
        outer
            .env("DIR", user.dir().join(format!("gpu-{}", options.len())))
            .args(["-m", "sh", "-euc", WITH_GPU, "sh"]);
        fs::create_dir(user.dir().join(format!("gpu-{}", options.len())))?;
        outer.arg(user.sbx_path()).args(["--profile", "browser"]).args(options).args(["sh", "-euc", script]);
        output(&mut outer)
    };
    let script =
        "ls /dev/dri /sys/dev/char; head -c 2 /dev/dri/renderD128 | od -An -tx1; cat /sys/dev/char/1:5/uevent
        ls /sys/devices/virtual/mem; echo x >/dev/dri/renderD128; ! (echo x >/sys/dev/char/1:5/uevent) 2>/dev/null";
    let there = run(&[], script)?;
    there.exits(0)?.stderr_is("")?;
    there.stdout_is("/dev/dri:\nrenderD128\n\n/sys/dev/char:\n1:5\n 00 00\nMAJOR=1\nMINOR=5\nDEVNAME=zero\nDEVMODE=0666\nzero\n")?;
    let without = ["--set", "devices.gpu=false"];
    run(&without, "! ls /dev/dri /sys")?.exits(0)?.stdout_is("")?;
    Ok(())
}
