//! Holds README.md, the manual pages, the completions and the JSON Schema together with the program: every option, verb, key, step
//! and exit status is documented, nothing else is, what they call not built yet is refused, and what they show as an example works.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use sbx::cli::{self, Action, UsageError};
use sbx::exec::{ExecError, Outcome, Step};
use sbx::host::{self, Host, SubordinateIds, WorkingDirectory};
use sbx::invocation::Invocation;
use sbx::plan::{self, Plan, PlanError};
use sbx::profile::search::SearchPath;
use sbx::profile::{
    ArgumentsMode, Background, CwdMode, HomeMode, LandlockScope, Level, Nested, NetworkMode, OverlayDriver,
    Profile, ProfileError, TerminalMode, Toolchain, UidMap, X11Mode, load,
};

mod checker;
mod completions;
mod examples;
mod keys;
#[path = "../bad_input/mistakes.rs"]
#[allow(dead_code, reason = "what is said of each is looked at there")]
mod mistakes;
mod schema;

/// Values for every option that takes one.
const OPTIONS: &[(&str, &[&str])] = &[
    ("profile", &["shell"]),
    ("set", &["limits.pids=5"]),
    ("ro", &["/a"]),
    ("rw", &["/a:/b"]),
    ("hide", &["/a"]),
    ("tmpfs", &["/a"]),
    ("overlay", &["/a"]),
    ("root", &["/a", "image:x"]),
    ("layer", &["/a"]),
    ("cwd", CwdMode::WORDS),
    ("chdir", &["/a"]),
    ("net", NetworkMode::WORDS),
    ("allow-host", &["example.org"]),
    ("publish", &["8080"]),
    ("memory", &["1G"]),
    ("swap", &["1G"]),
    ("cpus", &["1.5"]),
    ("pids", &["5"]),
    ("timeout", &["1s"]),
    ("env", &["A=1"]),
    ("hostname", &["box"]),
    ("name", &["box"]),
    ("keep-fd", &["5"]),
    ("color", &["never"]),
    ("status-fd", &["5"]),
];

/// Values for every key that `--set` can set, among them some that ask for more than the default.
const KEYS: &[(&str, &[&str])] = &[
    ("description", &["x"]),
    ("app-id", &["org.example.Editor"]),
    ("toolchains", &["['rustup', 'nvm', 'pyenv', 'uv', 'go']"]),
    ("filesystem.root", &["host", "empty", "/a", "image:x"]),
    ("filesystem.layers", &["['/a']"]),
    ("filesystem.writable", &["none", "layer:x", "/a"]),
    ("filesystem.cwd", CwdMode::WORDS),
    ("filesystem.read", &["['/a', { path = '/b', dest = '/c', optional = true }]"]),
    ("filesystem.write", &["['/a', { path = '/b', dest = '/c', optional = true }]"]),
    ("filesystem.hide", &["['/a']"]),
    ("filesystem.tmpfs", &["['/a', { path = '/b', size = '1M' }]"]),
    ("filesystem.overlay", &["['/a']", "[{ path = '/b', optional = true, layer = 'b-1' }]"]),
    ("filesystem.protect", &["['.git/hooks']"]),
    ("filesystem.arguments", ArgumentsMode::WORDS),
    ("filesystem.accounts", &["true"]),
    ("filesystem.overlay-driver", OverlayDriver::WORDS),
    ("home.mode", HomeMode::WORDS),
    ("namespaces.nested", Nested::WORDS),
    ("namespaces.hostname", &["box"]),
    ("namespaces.time.boottime", &["-1h"]),
    ("namespaces.time.monotonic", &["60"]),
    ("privileges.uid", UidMap::WORDS),
    ("privileges.capabilities", &["['CAP_NET_BIND_SERVICE']"]),
    ("network.mode", NetworkMode::WORDS),
    ("network.allow", &["['*.example.org']"]),
    ("network.deny", &["['example.org']"]),
    ("network.allow-private", &["['example.org']"]),
    ("network.publish", &["['8080']"]),
    ("network.block-lan", &["true"]),
    ("network.bandwidth.up", &["10M"]),
    ("network.bandwidth.down", &["10M"]),
    ("limits.memory", &["1G", "{ value = '1G', level = 'require' }"]),
    ("limits.memory-high", &["1G"]),
    ("limits.swap", &["0"]),
    ("limits.cpus", &["1.5"]),
    ("limits.cpu-weight", &["50"]),
    ("limits.cpuset", &["0-3,6"]),
    ("limits.pids", &["5"]),
    (
        "limits.io",
        &["[{ path = '/a', read = '10M', write = '5M', read-operations = 100, level = 'require' }]"],
    ),
    ("limits.io-weight", &["50"]),
    ("limits.cgroups", &["10"]),
    ("limits.cgroup-depth", &["2"]),
    ("limits.nice", &["10"]),
    ("limits.io-priority", &["idle", "best-effort:7"]),
    ("limits.open-files", &["5"]),
    ("limits.timeout", &["1h30m"]),
    ("limits.delegate", &["true"]),
    ("limits.cgroup", Level::WORDS),
    ("limits.cgroup-parent", &["/sys/fs/cgroup/a"]),
    ("limits.level", Level::WORDS),
    ("seccomp.allow", &["['@debug']"]),
    ("seccomp.deny", &["['ptrace']"]),
    ("seccomp.multiarch", &["true"]),
    ("landlock.level", Level::WORDS),
    ("landlock.scope", &["['signal']"]),
    ("landlock.files", &["true"]),
    ("environment.set", &["{ A = '1', B = false }"]),
    ("environment.keep", &["['CCACHE_*']"]),
    ("display.wayland", &["true", "optional"]),
    ("display.x11", X11Mode::WORDS),
    ("audio.playback", &["true"]),
    ("devices.gpu", &["true"]),
    ("dbus.session", &["['talk=org.example.Editor']"]),
    ("lifecycle.background", Background::WORDS),
    ("terminal.mode", TerminalMode::WORDS),
];

/// Keys that only a file has.
const FILE_KEYS: &[&str] = &["schema", "extends", "match"];

/// What marks a part that the program refuses.
const NOT_BUILT: &str = "not built yet";

fn source_dir() -> PathBuf {
    // The tests also run elsewhere than where they were built.
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

fn read(name: &str) -> String {
    let path = source_dir().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of one `.Sh` section.
fn section(page: &str, title: &str) -> String {
    let start = format!(".Sh {title}\n");
    let after = page.split_once(&start).unwrap_or_else(|| panic!("there is no section {title}")).1;
    after.split("\n.Sh ").next().unwrap_or_default().to_owned()
}

/// The items of all lists: what follows `.It`, and the text up to the next item.
fn items(text: &str) -> Vec<(String, String)> {
    let mut items: Vec<(String, String)> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        if let Some(tag) = line.strip_prefix(".It ") {
            items.push((tag.to_owned(), String::new()));
            open = true;
        } else if line == ".El" {
            open = false;
        } else if let (true, Some((_, body))) = (open, items.last_mut()) {
            body.push_str(line);
            body.push(' ');
        }
    }
    items
}

/// The long options of a text in mdoc.
fn flags_in(text: &str) -> BTreeSet<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let flags = words.windows(2).filter(|pair| matches!(pair[0], "Fl" | ".Fl"));
    flags
        .filter_map(|pair| pair[1].strip_prefix('-'))
        .filter(|flag| !flag.is_empty())
        .map(str::to_owned)
        .collect()
}

fn set<T: Into<String>>(words: impl IntoIterator<Item = T>) -> BTreeSet<String> {
    words.into_iter().map(Into::into).collect()
}

fn search() -> SearchPath {
    SearchPath::from_directories(Vec::new())
}

/// An ordinary user in a project of theirs, so that neither who runs the tests nor where makes a difference.
fn ordinary_host() -> Host {
    Host {
        uid: 1000,
        gid: 1000,
        home: Some("/home/ann".into()),
        real_homes: vec!["/home/ann".into()],
        data_home: Some("/home/ann/.local/share".into()),
        cwd: WorkingDirectory::Known("/home/ann/project".into()),
        subordinate: SubordinateIds { uids: vec![(100_000, 65_536)], gids: vec![(100_000, 65_536)] },
        ..host::probe().expect("a machine")
    }
}

fn plan(invocation: &Invocation) -> Result<Plan, PlanError> {
    let mut invocation = invocation.clone();
    let about_layers =
        |set: &String| ["filesystem.layers=", "filesystem.writable="].iter().any(|key| set.starts_with(key));
    if !invocation.layers.is_empty() || invocation.set.iter().any(about_layers) {
        // They go over something.
        invocation.root.get_or_insert_with(|| "/root-filesystem".into());
    }
    if invocation.set.iter().any(|set| set.starts_with("privileges.capabilities=")) {
        invocation.set.push("privileges.uid=root".to_owned());
    }
    let invocation = &invocation;
    let uid = nix::unistd::getuid().as_raw();
    let profile = load::load(&invocation.profiles, &invocation.set, &search(), uid)
        .unwrap_or_else(|error| panic!("{invocation:?}: {error}"));
    plan::resolve(&profile, invocation, &ordinary_host())
}

/// The plan of a command line without `sbx`; nothing for a verb that has none.
fn plan_of(words: &[String]) -> Option<Result<Plan, PlanError>> {
    let words: Vec<OsString> = words.iter().map(OsString::from).collect();
    match cli::parse(&words) {
        Ok(Action::Run(invocation, _) | Action::Explain(invocation, ..)) => Some(plan(&invocation)),
        Ok(_) => None,
        Err(error) => panic!("{words:?}: {error}"),
    }
}

/// Whether a part of these command lines is not built; every other reason for a refusal is a mistake of this test.
fn is_refused(lines: impl IntoIterator<Item = Vec<String>>) -> bool {
    lines.into_iter().fold(false, |refused, line| {
        refused
            | match plan_of(&line) {
                Some(Err(PlanError::NotBuilt { .. })) => true,
                Some(Err(error)) => panic!("{line:?}: {error}"),
                Some(Ok(_)) | None => false,
            }
    })
}

fn check_marked(what: &str, body: &str, refused: bool) {
    let marked = body.to_lowercase().contains(NOT_BUILT);
    assert_eq!(marked, refused, "{what}: marked as {NOT_BUILT} (left), refused by the program (right)");
}

#[test]
fn options() {
    let page = read("man/sbx.1");
    let mut known = set(["help"]);
    for command in cli::commands() {
        known.extend(command.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned));
    }
    assert_eq!(flags_in(&page), known, "options of the page (left) and of the program (right)");

    let items = items(&section(&page, "OPTIONS"));
    let run = &cli::commands()[0];
    for argument in run.get_arguments().filter(|argument| argument.get_long().is_some()) {
        let name = argument.get_long().unwrap_or_default();
        let (tag, body) = items
            .iter()
            .find(|(tag, _)| flags_in(tag).contains(name))
            .unwrap_or_else(|| panic!("--{name} has no entry of its own"));
        if let Some(short) = argument.get_short() {
            assert!(tag.contains(&format!("Fl {short} ")), "-{short} is not with --{name}");
        }
        let values = match OPTIONS.iter().find(|(option, _)| *option == name) {
            Some((_, values)) => values.iter().map(|value| Some(*value)).collect(),
            None => vec![None],
        };
        assert_eq!(argument.get_action().takes_values(), values[0].is_some(), "values for --{name}");
        let lines = values.into_iter().map(|value| {
            let option = format!("--{name}");
            set_in_order([Some(option.as_str()), value, Some("true")])
        });
        check_marked(&format!("--{name}"), body, is_refused(lines));
    }
}

fn set_in_order<'a>(words: impl IntoIterator<Item = Option<&'a str>>) -> Vec<String> {
    words.into_iter().flatten().map(str::to_owned).collect()
}

#[test]
fn verbs() {
    let page = read("man/sbx.1");
    let verbs = section(&page, "VERBS");
    let (built, reserved) = verbs.split_once(".Ss Reserved verbs").expect("there are reserved verbs");
    let built = set(items(built).iter().filter_map(|(tag, _)| tag.strip_prefix("Cm ")));
    let reserved = set(reserved
        .lines()
        .filter_map(|line| line.strip_prefix(".Cm "))
        .flat_map(str::split_whitespace)
        .filter(|word| word.chars().all(|c| c.is_ascii_lowercase())));
    let is_reserved =
        |verb: &&&str| matches!(cli::parse(&[OsString::from(verb)]), Err(UsageError::ReservedVerb(_)));
    let (refused, works): (Vec<&&str>, Vec<&&str>) = cli::VERBS.iter().partition(|verb| is_reserved(verb));
    assert_eq!(built, set(works.into_iter().copied()), "verbs of the page (left) and of the program (right)");
    assert_eq!(reserved, set(refused.into_iter().copied()), "reserved verbs");
}

#[test]
fn order_of_confinement() {
    let page = section(&read("man/sbx.1"), "ORDER OF CONFINEMENT");
    let rows = items(&page).into_iter().map(|(tag, _)| {
        let row = tag.strip_prefix("Li ").and_then(|row| row.split_once(" Ta "));
        let (name, verb) = row.unwrap_or_else(|| panic!("{tag} is not a row"));
        (name.to_owned(), verb.split(" Ar ").next().unwrap_or_default().to_owned())
    });
    let steps = Step::ORDER.iter().map(|step| (format!("{step:?}"), step.verb().to_owned()));
    assert_eq!(
        rows.collect::<Vec<_>>(),
        steps.collect::<Vec<_>>(),
        "the page (left) and the program (right)"
    );
}

#[test]
fn exit_status() {
    let not_found = ExecError::NotFound { command: "x".into(), outside: None };
    let not_executable = ExecError::NotExecutable { path: "/x".into(), why: String::new(), outside: None };
    let codes = [
        Outcome::TimedOut.exit_code(),
        ExecError::Threads.exit_code(),
        not_executable.exit_code(),
        not_found.exit_code(),
        ExecError::InitKilled { ran: true }.exit_code(),
    ];
    assert_eq!(Outcome::Exited(7).exit_code(), 7);
    assert_eq!(Outcome::Signaled(15).exit_code(), 128 + 15);
    let mut expected = vec!["the command's own".to_owned(), "128+N".to_owned()];
    expected.extend(codes.map(|code| code.to_string()));
    let page = items(&section(&read("man/sbx.1"), "EXIT STATUS"));
    assert_eq!(page.into_iter().map(|(tag, _)| tag).collect::<Vec<_>>(), expected, "the page");
    let readme = read("README.md");
    let table = readme.split_once("| exit status | meaning |\n").expect("there is a table").1;
    let rows = table.lines().skip(1).map_while(|line| line.strip_prefix("| "));
    let rows = rows.map(|row| row.split(" |").next().unwrap_or_default().to_owned());
    assert_eq!(rows.collect::<Vec<_>>(), expected, "README.md");
}
