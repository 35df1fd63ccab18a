//! Headless browsers: a local page becomes a picture, however the sandbox is started.

use crate::common::{Case, User, Verdict};
use crate::server::Server;
use crate::stage::{Browser, GREEN, page, sandbox, shot};
use std::process::{Command, Stdio};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Browser::Firefox.case(Case::new("screenshots::firefox", |user| everywhere(user, Browser::Firefox))),
        Browser::Chromium
            .case(Case::new("screenshots::chromium", |user| everywhere(user, Browser::Chromium))),
    ]
}

/// Runs that end in the same picture: of a file and over the loopback, with the profile named and found by the command's path,
/// from the home, from the root directory and from a launcher.
fn everywhere(user: &User, browser: Browser) -> Verdict {
    let file = user.put("home/some pages/page.html", page("file", GREEN))?;
    let file = browser.file(file);
    let server = Server::start(vec![("/page", page("loopback", GREEN))])?;
    let words = browser.screenshot(user);
    shot(user, sandbox(user).args(&words).arg(&file))?.shows(GREEN, 95)?;
    shot(user, sandbox(user).args(&words).arg(server.url("/page")))?.shows(GREEN, 95)?;
    let found = |directory| {
        let mut sbx = user.sbx();
        sbx.args(&words).current_dir(directory);
        sbx
    };
    let from_home = if browser == Browser::Chromium { "some pages/page.html" } else { &file };
    shot(user, found(user.home()).arg(from_home))?.shows(GREEN, 95)?;
    shot(user, found("/".into()).arg(server.url("/page")))?.shows(GREEN, 95)?;
    shot(user, found("/".into()).arg(&file))?.shows(GREEN, 95)?;
    from_a_launcher(user, found("/".into()).arg(server.url("/page")))
}

/// A session of its own, no terminal, nothing to read from or write to.
fn from_a_launcher(user: &User, sbx: &Command) -> Verdict {
    let mut launcher = user.command("setsid");
    launcher.args(["--fork", "--wait", "sh", "-c", "exec \"$@\" >/dev/null 2>&1", "sh"]);
    launcher.arg(sbx.get_program()).args(sbx.get_args());
    launcher.current_dir("/").stdin(Stdio::null());
    shot(user, &mut launcher)?.shows(GREEN, 95)
}
