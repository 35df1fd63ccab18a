//! An X server without a screen, closed to whoever has no cookie.

use crate::common::{Running, User, output, wait_for_within};
use crate::picture::Picture;
use crate::stage::{PATIENCE, finish, text};
use libtest_mimic::Failed;
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

/// Where every X server of the machine listens.
const SOCKETS: &str = "/tmp/.X11-unix";

/// Held while one starts or ends: a server that ends takes away the socket by its name, which may be its successor's by then.
static NUMBERS: Mutex<()> = Mutex::new(());

/// Xvfb, ended when dropped.
#[derive(Debug)]
pub(crate) struct XServer {
    running: Option<Running>,
    number: u32,
    cookies: PathBuf,
}

impl XServer {
    /// Starts it as this user, with a number that is free.
    pub(crate) fn start(user: &User, name: &str) -> Result<Self, Failed> {
        if !Path::new(SOCKETS).exists() && fs::create_dir(SOCKETS).is_ok() {
            // As the system makes it: an ordinary user's server doesn't make it at all.
            fs::set_permissions(SOCKETS, fs::Permissions::from_mode(0o1777))?;
        }
        let directory = user.mkdir(format!("x-{name}"))?;
        let [own, cookies, said] = ["own", "cookies", "display"].map(|file| directory.join(file));
        let cookie = output(&mut user.command("mcookie"))?.text();
        let add = |file: &Path, display: &str| {
            let mut xauth = user.command("xauth");
            xauth.args(["-q", "-f"]).arg(file).args(["add", display, ".", cookie.trim()]);
            output(&mut xauth)?.exits(0).map(drop)
        };
        add(&own, ":0")?;
        // Whoever looks at it and leaves may be its last client: a reset then would turn away one that comes meanwhile.
        let script =
            "exec Xvfb -noreset -displayfd 3 -screen 0 1000x640x24 -nolisten tcp -auth \"$1\" 3>\"$2\"";
        let mut xvfb = user.command("sh");
        let _numbers = NUMBERS.lock();
        let running = Running::start(xvfb.args(["-c", script, "sh"]).arg(own).arg(&said))?;
        let number = wait_for_within(PATIENCE, "the X server", || {
            fs::read_to_string(&said).ok()?.strip_suffix('\n')?.parse().ok()
        })?;
        add(&cookies, &format!(":{number}"))?;
        Ok(Self { running: Some(running), number, cookies })
    }

    /// What `DISPLAY` says.
    pub(crate) fn display(&self) -> String {
        format!(":{}", self.number)
    }

    /// The file with its cookie.
    pub(crate) fn cookies(&self) -> String {
        text(&self.cookies)
    }

    /// A command whose display it is.
    pub(crate) fn client<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("DISPLAY", self.display()).env("XAUTHORITY", &self.cookies)
    }

    /// What is on the screen.
    pub(crate) fn screen(&self, user: &User) -> Result<Picture, Failed> {
        let mut import = user.command("import");
        let taken = finish(self.client(&mut import).args(["-window", "root", "-depth", "8", "ppm:-"]))?;
        taken.exits(0)?;
        Picture::parse(&taken.stdout)
    }

    /// The visible windows with such a title.
    pub(crate) fn windows(&self, user: &User, title: &str) -> Result<Vec<String>, Failed> {
        let mut xdotool = user.command("xdotool");
        let found = finish(self.client(&mut xdotool).args(["search", "--onlyvisible", "--name", title]))?;
        Ok(found.text().lines().map(str::to_owned).collect())
    }

    /// Waits for a window with such a title while its program runs.
    pub(crate) fn window(&self, user: &User, program: &mut Running, title: &str) -> Result<String, Failed> {
        program.wait_for(PATIENCE, &format!("a window {title}"), || self.windows(user, title).ok()?.pop())
    }

    /// Waits until that much of the screen has the colour of the pages.
    pub(crate) fn wait_for_page(&self, user: &User) -> Result<(), Failed> {
        crate::stage::wait_for_picture(|| self.screen(user))
    }
}

impl Drop for XServer {
    fn drop(&mut self) {
        let _numbers = NUMBERS.lock();
        // So that it takes its socket away.
        if let Some(running) = self.running.take().filter(|running| running.signal(Signal::SIGTERM).is_ok()) {
            let _ = running.finish_within(Duration::from_secs(20));
        }
    }
}
