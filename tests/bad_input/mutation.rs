//! A hundred thousand mutations of profiles and command lines, in this process: none panics, and every message about one could be
//! printed as it is.

use crate::common::{Case, User, Verdict, case};
use crate::support::unclean;
use libtest_mimic::Failed;
use sbx::cli::{self, Action, UsageError};
use sbx::diag::{Diagnose, Severity, render};
use sbx::explain;
use sbx::host::{Entry, Host, WorkingDirectory};
use sbx::invocation::Invocation;
use sbx::plan;
use sbx::profile::search::SearchPath;
use sbx::profile::{Profile, load};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

pub(crate) fn cases() -> Vec<Case> {
    // Nothing here runs a sandbox, so once will do.
    vec![case!(command_lines).only_as_user(), case!(profiles).only_as_user()]
}

const COMMAND_LINES: u32 = 60_000;
const PROFILES: u32 = 40_000;

/// xorshift64 (Marsaglia, 2003): the same numbers on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    fn one_of<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// The text with up to three small changes.
    fn mutate(&mut self, text: &[u8], pieces: &[&[u8]]) -> Vec<u8> {
        let mut text = text.to_vec();
        for _ in 0..=self.below(2) {
            let (at, end) = (self.below(text.len() + 1), self.below(text.len() + 1));
            let range = at.min(end)..at.max(end).min(at.min(end) + 8);
            match self.below(7) {
                0 => drop(text.splice(range, [])),
                1 => drop(text.splice(at..at, self.one_of(pieces).iter().copied())),
                2 => drop(text.splice(range, self.one_of(pieces).iter().copied())),
                3 if self.below(8) == 0 => text.truncate(at.max(1)),
                4 => {
                    let copy = text[range].to_vec();
                    drop(text.splice(end..end, copy));
                }
                5 => text.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << self.below(8)),
                _ => text
                    .iter_mut()
                    .skip(at)
                    .take(1)
                    .for_each(|byte| *byte = self.below(256).try_into().unwrap_or(0)),
            }
        }
        text
    }
}

/// A machine that is not this one.
fn host() -> Host {
    let word = |text: &str| OsString::from(text);
    Host {
        uid: 1234,
        gid: 2345,
        user: "ann".to_owned(),
        home: Some("/home/ann".into()),
        real_homes: vec!["/home/ann".into()],
        cwd: WorkingDirectory::Known("/home/ann/project".into()),
        environment: vec![
            (word("PATH"), word("/usr/bin")),
            (word("LANG"), word("C")),
            (OsString::from_vec(b"LC_\xff".to_vec()), OsString::from_vec(b"\x1b\xfe".to_vec())),
        ],
        runtime_dir: Some("/run/user/1234".into()),
        config_home: Some("/home/ann/.config".into()),
        data_home: Some("/home/ann/.local/share".into()),
        state_home: Some("/home/ann/.local/state".into()),
        downloads: None,
        system: vec![("bin", Entry::Link("usr/bin".into())), ("lib", Entry::Real)],
        etc: vec![("ld.so.cache", Entry::SmallFile), ("ssl", Entry::Real)],
        stores: Vec::new(),
        resolv_conf: b"nameserver 127.0.0.1\n".to_vec(),
        hosts: Vec::new(),
        writable_proc: Vec::new(),
    }
}

/// A machine on which little is as it should be.
fn bare_host() -> Host {
    let cwd = WorkingDirectory::Deleted;
    let (home, runtime_dir, data_home) = (None, None, None);
    Host {
        uid: 0,
        gid: 0,
        real_homes: Vec::new(),
        environment: Vec::new(),
        cwd,
        home,
        runtime_dir,
        data_home,
        ..host()
    }
}

/// Counts of what the mutations came to.
#[derive(Default)]
struct Tally {
    done: u32,
    refused: u32,
}

impl Tally {
    fn say(&self, what: &str, wanted: u32) -> Verdict {
        let _ = writeln!(std::io::stderr(), "{} mutated {what}: {} refused", self.done, self.refused);
        // Neither all nor none, or the mutations test nothing.
        let odd = self.done != wanted || self.refused < wanted / 10 || self.refused > wanted - wanted / 20;
        if odd { Err(format!("{} of {} refused", self.refused, self.done).into()) } else { Ok(()) }
    }

    /// The message must be fit to print.
    fn told(&mut self, what: &dyn Diagnose, severity: Severity) -> Verdict {
        let text = render(severity, what, false);
        if severity == Severity::Error {
            self.refused += 1;
        }
        let own = |line: &str| ["sbx: ", "  hint: ", "  | "].iter().any(|own| line.starts_with(own));
        match unclean(text.as_bytes()) {
            Some(found) => Err(format!("the message holds {found}: {text:?}").into()),
            None if text.lines().all(own) => Ok(()),
            None => Err(format!("a line is not the message's own: {text:?}").into()),
        }
    }

    /// What a profile and an invocation come to on both machines.
    fn plan(&mut self, profile: &Profile, invocation: &Invocation) -> Verdict {
        let good = plan::resolve(profile, invocation, &host());
        // The bare machine refuses most; only whether it holds counts.
        if let Err(error) = plan::resolve(profile, invocation, &bare_host()) {
            Self::default().told(&error, Severity::Error)?;
        }
        let plan = match good {
            Err(error) => return self.told(&error, Severity::Error),
            Ok(plan) => plan,
        };
        if self.done % 8 == 0 {
            let text = explain::text(&plan);
            explain::json(&plan).map_err(|error| format!("no JSON: {error}"))?;
            if let Some(found) = unclean(text.as_bytes()) {
                return Err(format!("the explanation holds {found}: {text:?}").into());
            }
        }
        Ok(())
    }
}

/// Does it, and says for which input it failed or panicked.
fn guarded(input: &dyn std::fmt::Debug, body: impl FnOnce() -> Verdict) -> Verdict {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(failure)) => {
            Err(format!("{}\n  input: {input:?}", failure.message().unwrap_or_default()).into())
        }
        Err(_) => Err(format!("a panic\n  input: {input:?}").into()),
    }
}

/// Words of command lines, and an empty one.
const WORDS: &str = "run explain check profiles ps help -- - -p build --profile=shell --set limits.pids=7 \
    --set=filesystem.read=[\"/a\"] --set=namespaces.hostname=\"x\" --set=environment.set={A=\"b\"} --strict --ro /opt \
    --ro=/a:/b --rw=a\\:b:/c --rw ../x --hide=.env --tmpfs /scratch --overlay=. --root=/ --layer=/x --cwd none rw \
    --cwd=overlay --chdir /usr --net host --net=private --allow-host=a.b:1 --publish=80 --memory 1.5G --swap=0 --cpus 2 \
    --pids 500 --timeout 1h30m 250ms --env A=b LANG --env=C= --hostname=box --name=x --keep-fd 3 --die-with-parent -v -q \
    -vq --color=never --status-fd=3 --format=json --help --version make ls -la /usr/bin/true ";

const WORD_PIECES: &[&[u8]] = &[
    b":",
    b"\\:",
    b"=",
    b"-",
    b"--",
    b"/",
    b"..",
    b"~",
    b"0",
    b"99999999999999999999",
    b".",
    b"\xff",
    b"\x1b[2J",
    b"\n",
    "é".as_bytes(),
    "\u{202e}".as_bytes(),
    "\u{61c}".as_bytes(),
    "\u{9b}".as_bytes(),
    b"${HOME}",
    b"\"",
    b"[",
    b"]",
    b"{",
    b"'",
    b",",
    b" ",
    b"\t",
    b"`",
];

fn command_lines(user: &User) -> Verdict {
    let mut random = Random(0x5eed_0001);
    let mut tally = Tally::default();
    // Profiles come compiled in only: a mutated name must not open this machine's files.
    let search = SearchPath::from_directories(vec![user.dir().join("none")]);
    for _ in 0..COMMAND_LINES {
        let count = random.below(9);
        let words: Vec<OsString> = (0..count).map(|_| word(&mut random)).collect();
        guarded(&words, || command_line(&words, &search, user.uid(), &mut tally))?;
        tally.done += 1;
    }
    tally.say("command lines", COMMAND_LINES)
}

/// A word of a command line, most often as it should be, and never with a NUL byte, which none can have.
fn word(random: &mut Random) -> OsString {
    let words: Vec<_> = WORDS.split(' ').collect();
    let word = random.one_of(&words).as_bytes();
    let mut word = if random.below(4) == 0 { random.mutate(word, WORD_PIECES) } else { word.to_vec() };
    word.retain(|byte| *byte != 0);
    OsString::from_vec(word)
}

fn command_line(words: &[OsString], search: &SearchPath, uid: u32, tally: &mut Tally) -> Verdict {
    match cli::parse(words) {
        Err(UsageError::Bare(_)) => Ok(()),
        Err(error) => tally.told(&error, Severity::Error),
        Ok(Action::Run(invocation, _) | Action::Explain(invocation, ..)) => {
            let plain = |name: &&OsString| !name.as_bytes().contains(&b'/');
            let names: Vec<_> = invocation.profiles.iter().filter(plain).cloned().collect();
            match load::load(&names, &invocation.set, search, uid) {
                Ok(profile) => tally.plan(&profile, &invocation),
                Err(error) => tally.told(&error, Severity::Error),
            }
        }
        Ok(Action::Check { .. } | Action::Profiles(..) | Action::Print(_)) => Ok(()),
    }
}

const TEXTS: &[&str] = &[
    "schema = 1\ndescription = \"x\"\nextends = [\"base-cli\", \"own\"]\nmatch = [\"/usr/bin/example\"]\n",
    "schema = 1\n[filesystem]\ncwd = \"ro\"\nread = [\"-/opt\", { path = \"${HOME}/é\", dest = \"/data\", optional = true }]\n\
     write = [{ path = \"${XDG_RUNTIME_DIR}/x\" }]\nhide = ['/a']\ntmpfs = [{ path = \"/var/tmp\", size = \"1.5GiB\" }]\n",
    "schema = 1\n[namespaces]\nhostname = \"box\"\nnested = \"browser\"\ntime = { boottime = \"-1h30m\", monotonic = 5 }\n\
     [home]\nmode = \"private\"\n[privileges]\nuid = \"root\"\n",
    "schema = 1\n[limits]\npids = 500\nopen-files = 0x40\ntimeout = \"250ms\"\nlevel = \"prefer\"\n[environment]\n\
     set = { CI = \"1\", \"ODD NAME\" = \"\\u0041\", OLD = false }\nkeep = [\"GIT_*\", \"-SHELL\"]\n",
    "schema = 1\napp-id = \"org.example.Seed\"\nfilesystem = { root = \"image:x\", layers = [\"/l\"], protect = [\".git/hooks\"] }\n\
     privileges.capabilities = [\"net_raw\"]\nlimits = { memory = \"2G\", cpus = 1.5 }\n",
    "schema = 1\n[network]\nmode = \"host\"\nallow = [\"*.example.org\"]\nbandwidth = { up = \"10M\", down = 1024 }\n\
     [display]\nwayland = \"optional\"\n[seccomp]\ndeny = ['ptrace']\n[landlock]\nscope = [\"signal\"]\nfiles = false\n",
];

const TEXT_PIECES: &[&[u8]] = &[
    b"\"",
    b"'",
    b"[",
    b"]",
    b"{",
    b"}",
    b"=",
    b"-",
    b"\n",
    b"\r",
    b"\\u",
    b"\\u001b",
    b"\\u202e",
    b"\\u0000",
    "é".as_bytes(),
    "\u{feff}".as_bytes(),
    "\u{202e}".as_bytes(),
    "\u{85}".as_bytes(),
    b"\xff",
    b"\x1b",
    b"\0",
    b"${HOME}",
    b"${",
    b"}",
    b".",
    b"1e9",
    b"0x",
    b"`",
    b",",
    b"#",
    b"..",
    b"/",
    b"false",
    b"nan",
    b"1979-05-27",
    b"\"\"\"",
    b"9223372036854775808",
    b"filesystem.",
    b"schema = 1\n",
];

fn profiles(user: &User) -> Verdict {
    let mut random = Random(0x5eed_0002);
    let mut tally = Tally::default();
    let directory = user.mkdir("profiles")?;
    user.put(directory.join("own.toml"), "schema = 1\nextends = [\"shell\"]\n")?;
    let path = user.put(directory.join("x.toml"), "")?;
    let search = SearchPath::from_directories(vec![directory]);
    for _ in 0..PROFILES {
        let seed = random.one_of(TEXTS);
        let text = random.mutate(seed.as_bytes(), TEXT_PIECES);
        let line = seed.lines().nth(random.below(8)).unwrap_or("limits.pids = 3");
        let set = String::from_utf8_lossy(&random.mutate(line.as_bytes(), TEXT_PIECES)).into_owned();
        let with_set = random.below(4) == 0;
        guarded(&(OsStr::from_bytes(&text), &set), || {
            profile_text(&path, &text, with_set.then_some(&set), &search, user.uid(), &mut tally)
        })?;
        tally.done += 1;
    }
    tally.say("profiles", PROFILES)
}

fn profile_text(
    path: &PathBuf,
    text: &[u8],
    set: Option<&String>,
    search: &SearchPath,
    uid: u32,
    tally: &mut Tally,
) -> Result<(), Failed> {
    fs::write(path, text)?;
    match load::load_with_warnings(&["x".into()], set.map_or(&[], std::slice::from_ref), search, uid) {
        Err(error) => tally.told(&error, Severity::Error),
        Ok((profile, warnings)) => {
            for warning in &warnings {
                tally.told(warning, Severity::Warning)?;
            }
            tally.plan(&profile, &Invocation { command: vec!["true".into()], ..Invocation::default() })
        }
    }
}
