//! What the cases share: browsers and their options, pages, and how long to wait.

use crate::common::{Case, Need, Output, Running, User, output_within, wait_for_within};
use crate::picture::{Colour, Picture};
use libtest_mimic::Failed;
use nix::sys::signal::Signal;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a browser may take to do something: ten times what it does on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// What the pages are filled with.
pub(crate) const GREEN: Colour = [0, 192, 64];

/// A page of one colour, with a title.
pub(crate) fn page(title: &str, [red, green, blue]: Colour) -> String {
    format!(
        "<!doctype html><title>{title}</title><body style=\"margin:0;background:rgb({red},{green},{blue})\">\n"
    )
}

/// A browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Browser {
    Firefox,
    Chromium,
}

/// So that Chromium asks for nothing but the page.
const QUIET: [&str; 8] = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--password-store=basic",
    "--window-size=400,300",
];

impl Browser {
    /// The word to start it with.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Firefox => "firefox",
            Self::Chromium => "chromium",
        }
    }

    /// The words to start it with where it needs no display.
    pub(crate) fn headless(self) -> Vec<&'static str> {
        match self {
            Self::Firefox => vec!["firefox", "--headless", "--window-size", "400,300"],
            Self::Chromium => [&["chromium", "--headless"][..], &QUIET].concat(),
        }
    }

    /// The words to start it with where it opens a window.
    pub(crate) fn windowed(self) -> Vec<&'static str> {
        let mut words = self.headless();
        words.retain(|word| *word != "--headless");
        words
    }

    /// The words to make a screenshot, `shot.png` in the home that the browser has.
    pub(crate) fn screenshot(self, user: &User) -> Vec<String> {
        let mut words: Vec<String> = self.headless().into_iter().map(str::to_owned).collect();
        let path = text(user.home().join("shot.png"));
        match self {
            Self::Firefox => words.extend(["--screenshot".to_owned(), path]),
            Self::Chromium => words.push(format!("--screenshot={path}")),
        }
        words
    }

    /// A file, as the browser takes it there: Firefox makes screenshots of addresses only.
    pub(crate) fn file(self, path: impl AsRef<Path>) -> String {
        let path = text(path);
        if self == Self::Firefox { format!("file://{}", path.replace(' ', "%20")) } else { path }
    }

    /// A case that needs it. As root, Chromium starts without its own sandbox only.
    pub(crate) fn case(self, case: Case) -> Case {
        let case = case.needs(Need::Program(self.program())).needs(Need::Program("convert"));
        if self == Self::Chromium { case.only_as_user() } else { case }
    }
}

/// `sbx --profile browser`.
pub(crate) fn sandbox(user: &User) -> Command {
    let mut sbx = user.sbx();
    sbx.args(["--profile", "browser"]);
    sbx
}

/// The home that the sandbox has, from outside.
pub(crate) fn private_home(user: &User) -> PathBuf {
    user.home().join(".local/share/sbx/home/browser")
}

/// Runs to the end, with a browser's patience.
pub(crate) fn finish(command: &mut Command) -> Result<Output, Failed> {
    output_within(PATIENCE, command)
}

/// Runs a sandboxed browser that takes a screenshot, and gives that.
pub(crate) fn shot(user: &User, command: &mut Command) -> Result<Picture, Failed> {
    let path = private_home(user).join("shot.png");
    let _ = std::fs::remove_file(&path);
    let mut out = finish(command)?;
    // Told to quit while it still starts its extensions, Firefox at times waits for them in vain, and gives up after a minute.
    for _ in 0..2 {
        if out.errors().contains("ABORT: file resource://gre/modules/addons/") {
            out = finish(command)?;
        }
    }
    out.exits(0)?.stderr_lacks("sbx: ")?;
    out.check(path.exists(), || "there should be a screenshot".to_owned())?;
    Picture::of(user, path)
}

/// A path as text; the tests' own directories are ASCII.
pub(crate) fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_string_lossy().into_owned()
}

/// Waits until half of a picture has the colour of the pages.
pub(crate) fn wait_for_picture(mut take: impl FnMut() -> Result<Picture, Failed>) -> Result<(), Failed> {
    let mut last = Err("no picture".into());
    let shown = wait_for_within(PATIENCE, "the page", || {
        last = take().and_then(|picture| picture.shows(GREEN, 50));
        std::thread::sleep(Duration::from_millis(100));
        last.as_ref().ok().map(drop)
    });
    shown.and(last)
}

/// Tells a sandbox to end, and waits. It had nothing to say of its own.
pub(crate) fn end(running: Running) -> Result<Output, Failed> {
    running.signal(Signal::SIGTERM)?;
    // Counted from its start.
    let ended = running.finish_within(2 * PATIENCE)?;
    ended.stderr_lacks("sbx: ")?;
    Ok(ended)
}

/// A program that is needed.
pub(crate) fn needs(case: Case, programs: &[&'static str]) -> Case {
    programs.iter().fold(case, |case, program| case.needs(Need::Program(program)))
}
