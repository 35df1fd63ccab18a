//! Windows: on the host's X display where the profile says so and only there, and through the compositor's socket.

use crate::common::{Account, Case, Need, Running, User, Verdict, output, wait_for_within};
use crate::picture::Picture;
use crate::stage::{GREEN, PATIENCE, end, finish, needs, page, sandbox, text, wait_for_picture};
use crate::x_server::XServer;
use libtest_mimic::Failed;
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

pub(crate) fn cases() -> Vec<Case> {
    let x11 = ["Xvfb", "xauth", "import", "xdotool", "xdpyinfo"];
    let wayland = ["weston", "weston-info", "weston-screenshooter", "convert"];
    vec![
        needs(Case::new("displays::x11_shared", x11_shared), &x11).needs(Need::Program("firefox")),
        needs(Case::new("displays::x11_not_shared", x11_not_shared), &x11).needs(Need::Program("firefox")),
        needs(Case::new("displays::x11_abstract", x11_abstract), &x11)
            .needs(Need::Program("hostname"))
            .needs(Need::Other(no_scopes)),
        needs(Case::new("displays::x11_others", x11_others), &x11),
        needs(Case::new("displays::wayland", wayland_client), &wayland),
        needs(Case::new("displays::wayland_window", wayland_window), &wayland)
            .needs(Need::Program("firefox")),
        needs(Case::new("displays::viewer", viewer), &x11).needs(Need::Program("evince")),
    ]
}

/// Landlock has scopes from version 6 on.
fn no_scopes(_: &Account) -> Option<String> {
    (!matches!(sbx::sys::landlock::abi(), Ok(6..))).then(|| "Landlock without scopes".to_owned())
}

/// `sbx --profile browser` with the host's display.
fn shared(user: &User) -> Command {
    let mut sbx = sandbox(user);
    sbx.args(["--set", "display.x11=host"]);
    sbx
}

/// Firefox opens a window there and shows a page in it.
fn x11_shared(user: &User) -> Verdict {
    let x = XServer::start(user, "host")?;
    let file = user.put("page.html", page("sandboxed", GREEN))?;
    let mut firefox = Running::start(x.client(shared(user).arg("firefox").arg(file)))?;
    x.wait_for_page(user)?;
    x.window(user, &mut firefox, "^sandboxed")?;
    end(firefox).map(drop)
}

/// Where the profile doesn't say so, Firefox finds no display, and a client that knows all about it gets no connection.
fn x11_not_shared(user: &User) -> Verdict {
    let x = XServer::start(user, "host")?;
    let file = user.put("page.html", page("sandboxed", GREEN))?;
    let firefox = finish(x.client(sandbox(user).arg("firefox").arg(file)))?;
    firefox.exits(1)?.stderr_has("no DISPLAY environment variable")?;
    if !x.windows(user, ".")?.is_empty() {
        return Err("there should be no window".into());
    }
    let script = "ls /tmp/.X11-unix; test -S /tmp/.X11-unix/X${DISPLAY#:}";
    let mut sbx = with_all_it_takes(user, &x, &[]);
    finish(sbx.args(["sh", "-c", script]))?.exits(1)?.stdout_is("")?;
    Ok(())
}

/// A sandbox with the name of a display and its cookie, but for the display itself.
fn with_all_it_takes(user: &User, x: &XServer, options: &[&str]) -> Command {
    let mut sbx = sandbox(user);
    sbx.args(options).arg("--ro").arg(format!("{}:/cookies", x.cookies()));
    sbx.args(["--env", "XAUTHORITY=/cookies", "--env"]).arg(format!("DISPLAY={}", x.display()));
    sbx
}

/// The X server's abstract socket is the host network's, which browsers have: Landlock is what stands before it.
fn x11_abstract(user: &User) -> Verdict {
    let x = XServer::start(user, "host")?;
    // The cookie names the machine that it is for.
    let machine = output(&mut user.command("hostname"))?.text();
    let options = ["--hostname", machine.trim(), "--set", "landlock.level=off"];
    let held = output(with_all_it_takes(user, &x, &options[..2]).arg("xdpyinfo"))?;
    held.exits(1)?.stderr_has("unable to open display")?.stderr_lacks("uthorization")?;
    let through = output(with_all_it_takes(user, &x, &options).arg("xdpyinfo"))?;
    through.exits(0)?.stdout_has("vendor string")?;
    Ok(())
}

/// With one display, a sandbox has the socket and the cookie of that one alone: another stays out of reach, even for whoever
/// has its cookie, which is enough outside.
fn x11_others(user: &User) -> Verdict {
    let (x, other) = (XServer::start(user, "host")?, XServer::start(user, "other")?);
    let script = "ls /tmp/.X11-unix | wc -l; xauth list | wc -l; xdpyinfo | grep -c vendor.string";
    let mut sbx = shared(user);
    output(x.client(sbx.args(["sh", "-c", script])))?.exits(0)?.stdout_is("1\n1\n1\n")?;
    let mut sbx = shared(user);
    sbx.arg("--ro").arg(format!("{}:/other", other.cookies()));
    sbx.args(["env", "XAUTHORITY=/other"]).arg(format!("DISPLAY={}", other.display())).arg("xdpyinfo");
    output(x.client(&mut sbx))?.exits(1)?.stderr_has("unable to open display")?;
    let mut outside = user.command("xdpyinfo");
    output(other.client(&mut outside))?.exits(0)?;
    Ok(())
}

/// Evince shows the file that it is given, and nothing else of the home is there.
fn viewer(user: &User) -> Verdict {
    let x = XServer::start(user, "host")?;
    let file = user.put("home/papers/paper.pdf", paper())?;
    user.put("home/papers/other.pdf", paper())?;
    let mut sbx = user.sbx();
    sbx.args(["--set", "display.x11=host", "evince"]).arg(&file);
    let mut evince = Running::start(x.client(&mut sbx))?;
    x.window(user, &mut evince, "paper.pdf")?;
    wait_for_within(PATIENCE, "the paper", || x.screen(user).ok()?.shows(GREEN, 10).ok())?;
    end(evince)?;
    let mut listed = user.sbx();
    listed.args(["--profile", "viewer", "ls"]).arg(user.home().join("papers")).arg(&file);
    let listed = output(&mut listed)?;
    listed.stdout_has("paper.pdf")?.stdout_lacks("other.pdf")?;
    Ok(())
}

/// A page of PDF that is filled with the pages' colour.
fn paper() -> String {
    let drawing = "0 0.7529 0.2510 rg 0 0 400 400 re f\n";
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 400] /Contents 4 0 R >>".to_owned(),
        format!("<< /Length {} >>\nstream\n{drawing}endstream", drawing.len()),
    ];
    let mut file = "%PDF-1.4\n".to_owned();
    let mut table = "0000000000 65535 f \n".to_owned();
    for (at, object) in objects.iter().enumerate() {
        table += &format!("{:010} 00000 n \n", file.len());
        file += &format!("{} 0 obj\n{object}\nendobj\n", at + 1);
    }
    let (start, count) = (file.len(), objects.len() + 1);
    file + &format!(
        "xref\n0 {count}\n{table}trailer\n<< /Size {count} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n"
    )
}

/// A compositor without a screen, ended when dropped.
struct Weston {
    running: Option<Running>,
    runtime_dir: PathBuf,
}

impl Weston {
    fn start(user: &User) -> Result<Self, Failed> {
        let runtime_dir = user.mkdir("run")?;
        fs::set_permissions(&runtime_dir, fs::Permissions::from_mode(0o700))?;
        let mut weston = user.command("weston");
        weston.env("XDG_RUNTIME_DIR", &runtime_dir);
        weston.args(["--backend=headless-backend.so", "--use-pixman", "--width=1000", "--height=640"]);
        // With its debugging protocol, as pictures of the screen come through that.
        let running = Running::start(weston.args(["--socket=compositor", "--idle-time=0", "--debug"]))?;
        let socket = runtime_dir.join("compositor");
        wait_for_within(PATIENCE, "the compositor", || socket.exists().then_some(()))?;
        Ok(Self { running: Some(running), runtime_dir })
    }

    fn client<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("XDG_RUNTIME_DIR", &self.runtime_dir).env("WAYLAND_DISPLAY", "compositor")
    }

    fn screen(&self, user: &User) -> Result<Picture, Failed> {
        let directory = user.mkdir("screen")?;
        let mut shooter = user.command("weston-screenshooter");
        finish(self.client(&mut shooter).current_dir(&directory))?.exits(0)?;
        let path = fs::read_dir(directory)?.flatten().next().ok_or("no screenshot")?.path();
        let picture = Picture::of(user, &path);
        fs::remove_file(path)?;
        picture
    }
}

impl Drop for Weston {
    fn drop(&mut self) {
        if let Some(running) = self.running.take().filter(|running| running.signal(Signal::SIGTERM).is_ok()) {
            let _ = running.finish_within(Duration::from_secs(20));
        }
    }
}

/// A client finds the compositor where there is one; without the key it doesn't, whatever it is told.
fn wayland_client(user: &User) -> Verdict {
    let weston = Weston::start(user)?;
    let seen = output(weston.client(sandbox(user).arg("weston-info")))?;
    seen.exits(0)?.stdout_has("'wl_compositor'")?.stderr_lacks("sbx: ")?;
    let mut sbx = sandbox(user);
    sbx.args(["--set", "display.wayland=false", "--env", "WAYLAND_DISPLAY=compositor"]);
    sbx.args(["sh", "-c", "weston-info || ls -A \"$XDG_RUNTIME_DIR\"", "sh"]);
    let unseen = output(weston.client(&mut sbx))?;
    unseen.exits(0)?.stdout_lacks("'wl_compositor'")?.stdout_lacks("compositor")?;
    unseen.stderr_has("failed to create display")?;
    let mut sbx = sandbox(user);
    sbx.args(["--set", "display.wayland=true", "true"]);
    let none = output(&mut sbx)?;
    none.exits(125)?.stderr_has("`WAYLAND_DISPLAY` names no socket")?;
    Ok(())
}

/// Firefox opens a window there and shows a page in it.
fn wayland_window(user: &User) -> Verdict {
    let weston = Weston::start(user)?;
    let file = user.put("page.html", page("sandboxed", GREEN))?;
    let firefox =
        Running::start(weston.client(sandbox(user).arg("firefox").arg(text(file)).env_remove("DISPLAY")))?;
    wait_for_picture(|| weston.screen(user))?;
    end(firefox).map(drop)
}
