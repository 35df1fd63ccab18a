//! `sbx firefox URL` beside a Firefox of the host's.

use crate::common::{Case, Running, User, Verdict, output, wait_for_within};
use crate::server::Server;
use crate::stage::{Browser, GREEN, PATIENCE, end, finish, needs, page, private_home, sandbox};
use crate::x_server::XServer;
use libtest_mimic::Failed;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) fn cases() -> Vec<Case> {
    let programs = ["firefox", "Xvfb", "xauth", "import", "xdotool", "dbus-daemon"];
    let second = Case::new("remoting::a_second_start", a_second_start_opens_a_tab_of_the_first);
    vec![
        needs(Case::new("remoting::lands_in_the_sandbox", lands_in_the_sandbox), &programs),
        Browser::Chromium.case(needs(second, &programs[1..5])),
    ]
}

/// Two sandboxes, each with a host name and a PID 2 like the other's: by these alone Chromium would take the first one's lock for
/// its own from before, and both would write one profile.
fn a_second_start_opens_a_tab_of_the_first(user: &User) -> Verdict {
    let pages = ["/first", "/second"].map(|path| (path, page(&format!("page-{}", &path[1..]), GREEN)));
    let server = Server::start(pages.to_vec())?;
    let x = XServer::start(user, "host")?;
    let start = |path| {
        let mut sbx = sandbox(user);
        x.client(&mut sbx).args(["--set", "display.x11=host"]);
        sbx.args(Browser::Chromium.windowed()).arg(server.url(path));
        sbx
    };
    let mut first = Running::start(&mut start("/first"))?;
    let window = x.window(user, &mut first, "^page-first")?;
    finish(&mut start("/second"))?.exits(0)?.stdout_has("existing browser session")?;
    let with_second = x.window(user, &mut first, "^page-second")?;
    end(first)?;
    if with_second == window { Ok(()) } else { Err("the page is in another window than the first".into()) }
}

/// Two starts of Firefox outside are one Firefox: the second finds the first on the session bus, and hands its page over. One in
/// a sandbox doesn't, though it shares the display, is told where the bus is, and has a copy of the profile at the same path,
/// which is the name that it would look for.
fn lands_in_the_sandbox(user: &User) -> Verdict {
    let pages =
        ["/first", "/second", "/third"].map(|path| (path, page(&format!("page-{}", &path[1..]), GREEN)));
    let server = Server::start(pages.to_vec())?;
    let x = XServer::start(user, "host")?;
    let bus = user.dir().join("bus");
    let address = format!("unix:path={}", bus.display());
    let mut daemon = user.command("dbus-daemon");
    let _daemon = Running::start(
        daemon.args(["--session", "--nofork", "--nopidfile"]).arg(format!("--address={address}")),
    )?;
    wait_for_within(PATIENCE, "the bus", || bus.exists().then_some(()))?;
    let start = |mut command: Command, path| {
        x.client(&mut command).env("DBUS_SESSION_BUS_ADDRESS", &address).arg("firefox").arg(server.url(path));
        command
    };

    let mut hosts = Running::start(&mut start(user.command("env"), "/first"))?;
    let window = x.window(user, &mut hosts, "^page-first")?;
    finish(&mut start(user.command("env"), "/second"))?.exits(0)?;
    if x.window(user, &mut hosts, "^page-second")? != window {
        return Err("outside, the second should be in the first's window".into());
    }

    copy_profile(user)?;
    let mut sbx = sandbox(user);
    sbx.args(["--set", "display.x11=host"]);
    let mut sandboxed = Running::start(&mut start(sbx, "/third"))?;
    let own = x.window(user, &mut sandboxed, "^page-third")?;
    let others = x.windows(user, "^page-second")?;
    if own == window || others != [window.as_str()] {
        return Err(
            format!("the windows: {own} for the sandbox, {window} and {others:?} for the host's").into()
        );
    }
    // Its number in its own PID namespace: what the window says of its process.
    let mut xdotool = user.command("xdotool");
    output(x.client(&mut xdotool).args(["getwindowpid", &own]))?.stdout_is("2\n")?;
    end(sandboxed)?;
    end(hosts).map(drop)
}

/// Puts a copy of the host's profile where the sandboxed Firefox looks for its own.
fn copy_profile(user: &User) -> Verdict {
    let found = [".config/mozilla", ".mozilla"]
        .into_iter()
        .find(|path| user.home().join(path).join("firefox/profiles.ini").exists());
    let path = found.ok_or("Firefox has no profile")?;
    output(sandbox(user).arg("true"))?.exits(0)?;
    let copy = user.copy(user.home().join(path), private_home(user).join(path))?;
    // The lock of the one that runs.
    let profiles = std::fs::read_dir(copy.join("firefox"))?.flatten().map(|entry| entry.path());
    let locks: Vec<PathBuf> =
        profiles.map(|profile| profile.join("lock")).filter(|lock| lock.is_symlink()).collect();
    if locks.is_empty() {
        return Err(Failed::from("no profile is in use"));
    }
    locks.iter().map(Path::new).try_for_each(std::fs::remove_file)?;
    Ok(())
}
