//! The user's home: browsers' own directories there are not opened, downloads arrive, and nothing planted in the private home
//! leads out of it.

use crate::common::{Case, Running, Snapshot, User, Verdict, output, wait_for_within};
use crate::server::Server;
use crate::stage::{Browser, GREEN, PATIENCE, end, finish, needs, page, private_home, sandbox, shot};
use crate::x_server::XServer;
use libtest_mimic::Failed;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

pub(crate) fn cases() -> Vec<Case> {
    let of = |browser: Browser, what: &str, body: fn(&User, Browser) -> Verdict| {
        let name = format!("home::{}_{what}", browser.program());
        let case = browser.case(Case::new(&name, move |user| body(user, browser)));
        needs(case, &["Xvfb", "xauth"])
    };
    vec![
        of(Browser::Firefox, "opens_nothing", opens_nothing),
        of(Browser::Chromium, "opens_nothing", opens_nothing),
        of(Browser::Firefox, "downloads", downloads),
        of(Browser::Chromium, "downloads", downloads),
        Case::new("home::planted_links", links),
        needs(Case::new("home::look", look), &["fc-list"]),
    ]
}

/// Where browsers keep things.
const OWN: [&str; 7] = [
    ".mozilla",
    ".config/mozilla",
    ".config/chromium",
    ".cache/mozilla",
    ".cache/chromium",
    ".pki",
    ".local/share/pki",
];

const PROFILES: &str = "[Profile0]\nName=default\nIsRelative=1\nPath=canary\nDefault=1\n\n[General]\nStartWithLastProfile=1\nVersion=2\n";

/// Everything that is opened, read or changed in some directories.
struct Watch {
    inotify: Inotify,
}

impl Watch {
    fn on(directories: impl Iterator<Item = impl AsRef<Path>>) -> Result<Self, Failed> {
        let watch = Self { inotify: Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)? };
        for directory in directories {
            watch.add(directory.as_ref())?;
        }
        watch.events()?;
        Ok(watch)
    }

    fn add(&self, directory: &Path) -> Verdict {
        let entries: Vec<_> = fs::read_dir(directory)?.flatten().collect();
        for entry in entries {
            if entry.file_type()?.is_dir() {
                self.add(&entry.path())?;
            }
        }
        let flags = AddWatchFlags::IN_ALL_EVENTS;
        self.inotify.add_watch(directory, flags)?;
        Ok(())
    }

    /// What happened since the last call.
    fn events(&self) -> Result<Vec<String>, Failed> {
        let mut all = Vec::new();
        loop {
            match self.inotify.read_events() {
                Ok(events) => {
                    all.extend(events.iter().map(|event| format!("{:?} {:?}", event.mask, event.name)))
                }
                Err(Errno::EAGAIN) => return Ok(all),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// A sandboxed browser opens nothing of the host's browsers, which are watched there; outside it does.
fn opens_nothing(user: &User, browser: Browser) -> Verdict {
    for own in OWN {
        user.put(user.home().join(own).join("firefox/profiles.ini"), PROFILES)?;
        user.put(user.home().join(own).join("firefox/canary/prefs.js"), "user_pref(\"canary\", true);\n")?;
        user.put(user.home().join(own).join("Default/Preferences"), "{}\n")?;
        user.put(user.home().join(own).join("nssdb/pkcs11.txt"), "")?;
    }
    let file = browser.file(user.put("page.html", page("page", GREEN))?);
    let watch = Watch::on(OWN.iter().map(|own| user.home().join(own)))?;
    let words = browser.screenshot(user);
    shot(user, sandbox(user).args(&words).arg(&file))?.shows(GREEN, 95)?;
    let events = watch.events()?;
    if !events.is_empty() {
        return Err(format!("inside, something of the host's browsers was opened: {events:?}").into());
    }
    let mut outside = user.command(&words[0]);
    finish(outside.args(&words[1..]).arg(&file))?;
    if watch.events()?.is_empty() {
        return Err("outside, nothing was opened: the watch is worth nothing".into());
    }
    Ok(())
}

/// A download arrives in the user's downloads directory, wherever that is, and nothing else changes in the home.
fn downloads(user: &User, browser: Browser) -> Verdict {
    let contents = "downloaded\n".repeat(1000);
    let server = Server::start(vec![("/file.bin", contents.clone())])?;
    // Chromium downloads nothing where it has no window.
    let x = XServer::start(user, "host")?;
    let dirs = "XDG_DOWNLOAD_DIR=\"$HOME/got here\"\n";
    for (directory, dirs) in [("Downloads", None), ("got here", Some(dirs))] {
        if let Some(dirs) = dirs {
            user.put("home/.config/user-dirs.dirs", dirs)?;
        }
        let arrived = user.mkdir(user.home().join(directory))?.join("file.bin");
        output(sandbox(user).args(["sh", "-c", "echo x >~/stray"]))?.exits(0)?;
        let before = Snapshot::of(user.home())?;
        let mut sbx = sandbox(user);
        sbx.args(["--set", "display.x11=host"]).args(browser.windowed()).arg(server.url("/file.bin"));
        let running = Running::start(x.client(&mut sbx))?;
        let read = || fs::read_to_string(&arrived).ok().filter(|read| *read == contents);
        let waited = wait_for_within(PATIENCE, "the download", read);
        let ended = end(running)?;
        waited.map_err(|error| ended.failure(error.message().unwrap_or_default()))?;
        let changes = before.difference(&Snapshot::of(user.home())?);
        let stray =
            |line: &&str| !line[2..].starts_with(".local/share/sbx/") && !line[2..].starts_with(directory);
        let strays: Vec<_> = changes.lines().filter(stray).collect();
        ended.check(strays.is_empty(), || format!("the home should not change: {strays:?}"))?;
    }
    Ok(())
}

/// A link where a mount point belongs, as the last run may have left it: the next one refuses, says where it is, and touches
/// nothing that it leads to.
fn links(user: &User) -> Verdict {
    user.mkdir("home/Downloads")?;
    user.put("home/.config/user-dirs.dirs", "XDG_DOWNLOAD_DIR=\"$HOME/Downloads\"\n")?;
    let outside = user.mkdir("outside")?;
    user.put("outside/fonts.conf", "kept\n")?;
    let run = || output(sandbox(user).args(["sh", "-c", "echo x >~/Downloads/new"]));
    run()?.exits(0)?.stderr_is("")?;
    for place in ["Downloads", ".config/user-dirs.dirs", ".config"] {
        let (path, aside) = (private_home(user).join(place), private_home(user).join("aside"));
        fs::rename(&path, &aside)?;
        for target in [outside.clone(), outside.join("fonts.conf"), outside.join("missing")] {
            symlink(&target, &path)?;
            fs::write(user.home().join("Downloads/new"), "")?;
            let before = Snapshot::with_times(user.dir().join("outside"))?;
            let refused = run()?;
            refused.exits(125)?.stdout_is("")?.stderr_has(place)?;
            let errors = refused.errors();
            let kinds: Vec<_> =
                errors.lines().map(|line| line.split_once(": ").map_or(line, |(kind, _)| kind)).collect();
            refused.check(kinds == ["sbx", "  hint"], || "one cause and one remedy".to_owned())?;
            before.same_as(&Snapshot::with_times(&outside)?)?;
            let written = fs::read(user.home().join("Downloads/new"))?;
            refused.check(written.is_empty(), || "nothing should run".to_owned())?;
            fs::remove_file(&path)?;
        }
        fs::rename(&aside, &path)?;
        run()?.exits(0)?.stderr_is("")?;
    }
    Ok(())
}

/// Fonts, themes and settings of toolkits in the user's home, read-only, also where the home is another one; other settings
/// beside them are not there.
fn look(user: &User) -> Verdict {
    let shown = [".config/gtk-3.0/settings.ini", ".themes/Own/index.theme", ".icons/Own/index.theme"];
    for path in shown {
        user.put(user.home().join(path), format!("{path}\n"))?;
    }
    user.put("home/.config/other/settings.ini", "hidden\n")?;
    let fonts = output(user.command("fc-list").args(["-f", "%{file}\n"]))?;
    let font = fonts.text().lines().next().map(str::to_owned).ok_or("there is no font")?;
    user.mkdir("home/.local/share/fonts")?;
    user.copy(font, user.home().join(".local/share/fonts/own-font"))?;
    let script = "cd; for file in .config/gtk-3.0/settings.ini .themes/Own/index.theme .icons/Own/index.theme; do cat $file
        echo x 2>/dev/null >>$file && echo written; done; fc-list -f '%{file}\n' | grep -o own-font; ls .config/other 2>&1; true";
    let missing = "ls: cannot access '.config/other': No such file or directory";
    let expected = format!("{}\nown-font\n{missing}\n", shown.join("\n"));
    for profile in ["base-gui", "browser"] {
        let mut sbx = user.sbx();
        output(sbx.args(["--profile", profile, "sh", "-c", script]))?.exits(0)?.stdout_is(&expected)?;
    }
    let without = output(user.sbx().args(["--profile", "shell", "sh", "-c", script]))?;
    without.stdout_is(&format!("{missing}\n"))?;
    Ok(())
}
