//! Programs with windows: what they show is looked at in the memory of an X server that shows it to nobody.

use crate::common::{Case, Need, Running, User, Verdict, case, output, process, wait_for};
use crate::job::with;
use libtest_mimic::Failed;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the page of the document is filled with: red, green, blue.
const COLOUR: [u8; 3] = [255, 0, 102];

const PDF: &str = "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n\
                   3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/Contents 4 0 R>>endobj\n\
                   4 0 obj<</Length 27>>stream\n1 0 0.4 rg 0 0 300 300 re f\nendstream endobj\ntrailer<</Root 1 0 R>>\n";

const IMAGES: &str = include_str!("fixtures/images.py");

pub(crate) fn cases() -> Vec<Case> {
    let gtk = |case: Case| with(case, &["python3"]).needs(Need::Other(|_| no_gtk()));
    let window = |case: Case| with(case, &["Xvfb", "xwininfo"]);
    vec![
        gtk(case!(images_are_decoded)),
        window(gtk(case!(gtk_draws_a_window))),
        with(window(case!(evince_shows_a_file_by_a_relative_path)), &["evince"]),
        with(window(case!(evince_shows_a_file_by_an_absolute_path)), &["evince"]),
        with(window(case!(evince_shows_a_file_by_a_url)), &["evince"]),
    ]
}

fn no_gtk() -> Option<String> {
    let import = "import gi; gi.require_version('Gtk', '3.0')";
    let status =
        Command::new("/usr/bin/python3").args(["-c", import]).stderr(std::process::Stdio::null()).status();
    (!status.is_ok_and(|status| status.success())).then(|| "no GTK 3 for Python".to_owned())
}

/// Waits for what takes a desktop program seconds on an idle machine.
fn wait_long<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> Result<T, Failed> {
    for _ in 0..5 {
        if let Ok(answer) = wait_for(what, &mut ask) {
            return Ok(answer);
        }
    }
    wait_for(what, ask)
}

/// An X server with one screen, and its cookie in the user's home.
struct Server {
    running: Running,
    display: String,
    screen: PathBuf,
}

impl Server {
    fn start(user: &User) -> Result<Self, Failed> {
        let place = user.mkdir("x-server")?;
        user.put("x-server/authority", authority(""))?;
        let mut server = user.command("sh");
        server.args([
            "-c",
            "exec Xvfb -noreset -displayfd 3 -screen 0 800x600x24 -nolisten tcp -fbdir . -auth authority 3>display",
        ]);
        let running = Running::start(server.current_dir(&place))?;
        let said = || fs::read_to_string(place.join("display")).ok().filter(|text| text.ends_with('\n'));
        let number = wait_long("an X server", said)?.trim().to_owned();
        user.put("home/.Xauthority", authority(&number))?;
        Ok(Self { running, display: format!(":{number}"), screen: place.join("Xvfb_screen0") })
    }

    /// The titles of its windows.
    fn titles(&self, user: &User) -> Result<String, Failed> {
        let mut list = user.command("xwininfo");
        Ok(output(list.args(["-root", "-tree"]).env("DISPLAY", &self.display))?.text())
    }

    /// How many points have the colour.
    fn coloured(&self) -> usize {
        let [red, green, blue] = COLOUR;
        let memory = fs::read(&self.screen).unwrap_or_default();
        memory.chunks_exact(4).filter(|point| point[..3] == [blue, green, red]).count()
    }
}

/// Xsecurity(7): any host, this display, a cookie.
fn authority(number: &str) -> Vec<u8> {
    let mut file = u16::MAX.to_be_bytes().to_vec();
    for field in [b"".as_slice(), number.as_bytes(), b"MIT-MAGIC-COOKIE-1", b"0123456789abcdef"] {
        file.extend(u16::try_from(field.len()).unwrap_or(0).to_be_bytes());
        file.extend(field);
    }
    file
}

/// The pictures that the script makes, one of each kind.
fn images(user: &User) -> Result<PathBuf, Failed> {
    let script = user.put("home/script/images.py", IMAGES)?;
    output(user.command("python3").arg(&script).arg("make"))?.exits(0)?;
    Ok(script)
}

fn images_are_decoded(user: &User) -> Verdict {
    let script = images(user)?;
    user.put("home/project/other.png", "")?;
    let names = ["picture.png", "picture.jpeg", "picture.svg"];
    let outside = output(user.command("python3").arg(&script).arg("decode").args(names))?;
    outside.exits(0)?.stdout_has("picture.png 40x30 [255, 0, 102]\n")?.stdout_has("picture.svg 40x30 ")?;
    let mut inside = user.sbx();
    inside.args(["--profile", "viewer", "python3"]).arg(&script).arg("decode").args(names);
    output(&mut inside)?.exits(0)?.stdout_is(&outside.text())?;
    Ok(())
}

fn gtk_draws_a_window(user: &User) -> Verdict {
    let script = images(user)?;
    let server = Server::start(user)?;
    let mut inside = user.sbx();
    inside.args(["--profile", "viewer", "--set", "display.x11=host", "python3"]).arg(&script);
    inside.args(["show", "picture.png"]).env("DISPLAY", &server.display);
    let window = Running::start(&mut inside)?;
    // 40 by 30, four times.
    wait_long("the picture in a window", || (server.coloured() >= 4 * 40 * 30).then_some(()))?;
    let titles = server.titles(user)?;
    drop((window, server));
    if titles.contains("\"a picture\"") { Ok(()) } else { Err(format!("the windows:\n{titles}").into()) }
}

fn evince_shows_a_file_by_a_relative_path(user: &User) -> Verdict {
    evince(user, |_| "some report.pdf".to_owned())
}

fn evince_shows_a_file_by_an_absolute_path(user: &User) -> Verdict {
    evince(user, |path| path.display().to_string())
}

fn evince_shows_a_file_by_a_url(user: &User) -> Verdict {
    evince(user, |path| format!("file://{}", path.display()).replace(' ', "%20"))
}

/// The page is on the screen, the name in the title, and of the user's files only this one in the sandbox.
fn evince(user: &User, word: fn(&Path) -> String) -> Verdict {
    let path = user.put("home/project/some report.pdf", PDF)?;
    user.put("home/project/another report.pdf", PDF)?;
    let server = Server::start(user)?;
    if server.coloured() > 0 {
        return Err("an empty screen has that colour".into());
    }
    let mut sbx = user.sbx();
    sbx.args(["--set", "display.x11=host", "evince"]).arg(word(&path)).env("DISPLAY", &server.display);
    let running = Running::start(&mut sbx)?;
    let shown = wait_long("the page on the screen", || (server.coloured() > 10_000).then_some(()));
    let shown = shown.and_then(|()| server.titles(user));
    let files = match &shown {
        Ok(_) => seen(running.pid(), &user.project()),
        Err(_) => Ok(Vec::new()),
    };
    running.signal(nix::sys::signal::Signal::SIGTERM)?;
    let ended = running.finish()?;
    ended.check(shown.is_ok(), || format!("no page in the window: {shown:?}"))?;
    let titles = shown?;
    ended.check(titles.contains("\"some report.pdf\""), || format!("the windows:\n{titles}"))?;
    let files = files?;
    ended.check(files == ["some report.pdf"], || format!("the project has {files:?} inside"))?;
    drop(server.running);
    Ok(())
}

/// What the program sees in a directory.
fn seen(sbx: i32, directory: &Path) -> Result<Vec<String>, Failed> {
    let evince = process::descendants(sbx)
        .into_iter()
        .find(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "evince\n"))
        .ok_or("no process evince")?;
    let inside =
        Path::new(&format!("/proc/{evince}/root")).join(directory.strip_prefix("/").unwrap_or(directory));
    let entries = fs::read_dir(&inside).map_err(|error| format!("{}: {error}", inside.display()))?;
    Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}
