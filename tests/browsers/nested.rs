//! The browsers' own sandboxes inside of sbx's: as strong as outside, seen from outside.

use crate::common::process::{Status, descendants, namespaces};
use crate::common::{Case, Running, User, Verdict, wait_for_within};
use crate::server::Server;
use crate::stage::{Browser, GREEN, PATIENCE, end, finish, page, private_home, sandbox};
use libtest_mimic::Failed;
use std::fs;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Browser::Firefox.case(Case::new("nested::firefox", firefox)).only_as_user(),
        Browser::Chromium.case(Case::new("nested::chromium", chromium)),
        Browser::Chromium.case(Case::new("nested::chromium_without", chromium_without)),
        Browser::Firefox.case(Case::new("nested::firefox_without", firefox_without)),
    ]
}

/// The words that a process was started with, as it shows them.
fn words(pid: i32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).split(['\0', ' ']).map(str::to_owned).collect()
}

/// A browser that shows a page, and who shows it.
struct Shown {
    running: Running,
    browser: i32,
    content: Vec<i32>,
    _server: Server,
}

/// Starts a browser and waits until it asked for a page and a process for content is confined by one more filter.
fn show(
    user: &User,
    browser: Browser,
    options: &[&str],
    is_content: fn(&[String]) -> bool,
) -> Result<Shown, Failed> {
    let server = Server::start(vec![("/page", page("page", GREEN))])?;
    let mut sbx = sandbox(user);
    let running = Running::start(sbx.args(options).args(browser.headless()).arg(server.url("/page")))?;
    server.wait_until_asked("/page")?;
    let first =
        |pid: &i32| Status::of(*pid).and_then(|status| Ok(status.numbers("NSpid")?.get(1) == Some(&2)));
    let pids = descendants(running.pid());
    let browser = pids.into_iter().find(|pid| first(pid).unwrap_or(false)).ok_or("no browser")?;
    let filters = Status::of(browser)?.number("Seccomp_filters")?;
    let content = wait_for_within(PATIENCE, "a confined process for content", || {
        let mut found = descendants(browser);
        found.retain(|pid| is_content(&words(*pid)));
        let confined = |pid: &i32| {
            let status = Status::of(*pid).and_then(|status| status.number("Seccomp_filters"));
            status.is_ok_and(|count| count > filters)
        };
        (!found.is_empty() && found.iter().all(confined)).then_some(found)
    })?;
    Ok(Shown { running, browser, content, _server: server })
}

fn is_renderer(words: &[String]) -> bool {
    words.iter().any(|word| word == "--type=renderer")
}

fn is_tab(words: &[String]) -> bool {
    words.iter().any(|word| word == "-contentproc") && words.iter().any(|word| word == "tab")
}

/// The process differs from the browser itself in these namespaces, has a filter, no capability and no way to get any.
fn confined(pid: i32, browser: i32, kinds: &[&str]) -> Verdict {
    let (own, browsers) = (namespaces(pid)?, namespaces(browser)?);
    for kind in kinds {
        if own.get(*kind) == browsers.get(*kind) {
            return Err(format!("{:?} shares the browser's {kind} namespace", words(pid)).into());
        }
    }
    let status = Status::of(pid)?;
    if status.number("Seccomp")? != 2 || status.number("NoNewPrivs")? != 1 {
        return Err(format!("{:?}: {status:?}", words(pid)).into());
    }
    Ok(())
}

/// Nothing that Chromium or Firefox was told, or told its own processes, switches their sandbox off.
fn nothing_is_off(shown: &Shown) -> Verdict {
    for pid in std::iter::once(shown.browser).chain(descendants(shown.browser)) {
        if words(pid).iter().any(|word| word == "--no-sandbox") {
            return Err(format!("without a sandbox: {:?}", words(pid)).into());
        }
    }
    Ok(())
}

/// Renderers have user, PID and network namespaces of their own below the browser's, and a second filter.
fn chromium(user: &User) -> Verdict {
    let shown = show(user, Browser::Chromium, &[], is_renderer)?;
    let depth = Status::of(shown.browser)?.numbers("NSpid")?.len();
    for pid in &shown.content {
        confined(*pid, shown.browser, &["user", "pid", "net"])?;
        if Status::of(*pid)?.numbers("NSpid")?.len() <= depth {
            return Err(format!("{:?}: no PID namespace below the browser's", words(*pid)).into());
        }
    }
    nothing_is_off(&shown)?;
    end(shown.running).map(drop)
}

/// Tabs have user and network namespaces of their own, and a second filter.
fn firefox(user: &User) -> Verdict {
    let shown = show(user, Browser::Firefox, &[], is_tab)?;
    for pid in &shown.content {
        confined(*pid, shown.browser, &["user", "net"])?;
    }
    end(shown.running).map(drop)
}

/// Where sbx leaves no room for it, Chromium says so and shows nothing.
fn chromium_without(user: &User) -> Verdict {
    let file = user.put("page.html", page("page", GREEN))?;
    let mut sbx = sandbox(user);
    sbx.args(["--set", "namespaces.nested=none"]).args(Browser::Chromium.screenshot(user)).arg(file);
    let out = finish(&mut sbx)?;
    out.stderr_has("No usable sandbox")?;
    out.check(!out.status.success(), || "should fail".to_owned())?;
    out.check(!private_home(user).join("shot.png").exists(), || "no picture".to_owned())?;
    Ok(())
}

/// Where sbx leaves no room for them, Firefox's tabs do without namespaces: it runs, and is as confined as sbx has it.
fn firefox_without(user: &User) -> Verdict {
    let shown = show(user, Browser::Firefox, &["--set", "namespaces.nested=none"], is_tab)?;
    let browsers = namespaces(shown.browser)?;
    for pid in &shown.content {
        let own = namespaces(*pid)?;
        if own.get("user") != browsers.get("user") {
            return Err(format!("{:?} has a user namespace of its own", words(*pid)).into());
        }
    }
    end(shown.running).map(drop)
}
