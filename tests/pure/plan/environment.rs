//! The environment: what is kept, what is set, and who has the last word.

use crate::plan::given::{host, plan, plan_on, refusal, variable, variables};
use sbx::host::Host;
use sbx::plan::PlanError;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

const PROFILE: &str = "[environment]\nset = { CI = \"1\", LANG = \"de\" }\nkeep = [\"KEPT\", \"PRE_*\"]";

/// Profiles, the command line, a variable and its value inside.
type Row = (&'static [&'static str], &'static [&'static str], &'static str, Option<&'static str>);

const CALLER: &[(&str, &str)] = &[
    ("PATH", "/usr/bin"),
    ("HOME", "/elsewhere"),
    ("USER", "bob"),
    ("LANG", "C"),
    ("LC_ALL", "C"),
    ("LC_TIME", "C"),
    ("LD_PRELOAD", "/x.so"),
    ("SECRET", "s"),
    ("KEPT", "k"),
    ("PRE_A", "a"),
    ("PRE_", "b"),
    ("PRE", "c"),
    ("CI", "0"),
    ("XDG_RUNTIME_DIR", "/run/user/1000"),
    ("PWD", "/elsewhere"),
    ("OLDPWD", "/x"),
    ("DBUS_SESSION_BUS_ADDRESS", "unix:"),
    ("SSH_AUTH_SOCK", "/x"),
    ("TZ", "UTC"),
    ("TERM", "xterm"),
    ("container", "other"),
    ("DISPLAY", ":0"),
    ("BASH_ENV", "/x"),
];

const ROWS: &[Row] = &[
    (&[], &[], "PATH", Some("/usr/bin")),
    (&[], &[], "HOME", Some("/home/ann")),
    (&[], &[], "USER", Some("ann")),
    (&[], &[], "LOGNAME", Some("ann")),
    (&[], &[], "LANG", Some("C")),
    (&[], &[], "LC_ALL", Some("C")),
    (&[], &[], "LC_TIME", Some("C")),
    (&[], &[], "TZ", Some("UTC")),
    (&[], &[], "TERM", Some("xterm")),
    (&[], &[], "XDG_RUNTIME_DIR", Some("/run/user/1000")),
    (&[], &[], "PWD", Some("/home/ann")),
    (&[], &[], "container", Some("sbx")),
    (&[], &[], "LD_PRELOAD", None),
    (&[], &[], "SECRET", None),
    (&[], &[], "KEPT", None),
    (&[], &[], "OLDPWD", None),
    (&[], &[], "DISPLAY", None),
    (&[], &[], "BASH_ENV", None),
    (&[], &[], "DBUS_SESSION_BUS_ADDRESS", None),
    (&[], &[], "SSH_AUTH_SOCK", None),
    (&[], &[], "CI", None),
    (&[PROFILE], &[], "CI", Some("1")),
    (&[PROFILE], &[], "LANG", Some("de")),
    (&[PROFILE], &[], "KEPT", Some("k")),
    (&[PROFILE], &[], "PRE_A", Some("a")),
    (&[PROFILE], &[], "PRE_", Some("b")),
    (&[PROFILE], &[], "PRE", None),
    (&[PROFILE, "[environment]\nset = { CI = false }"], &[], "CI", None),
    (&[PROFILE, "[environment]\nset = { CI = \"2\" }"], &[], "CI", Some("2")),
    (&[PROFILE, "[environment]\nkeep = [\"-KEPT\"]"], &[], "KEPT", None),
    (&["[environment]\nkeep = [\"-LANG\"]"], &[], "LANG", None),
    (&["[environment]\nkeep = [\"-LC_*\"]"], &[], "LC_ALL", None),
    (
        &["[environment]\nkeep = [\"-PATH\"]"],
        &[],
        "PATH",
        Some("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ),
    (&["[environment]\nset = { HOME = \"/srv\" }"], &[], "HOME", Some("/srv")),
    (&["[environment]\nset = { USER = \"x\" }"], &[], "USER", Some("x")),
    (&["[environment]\nset = { PATH = \"/opt/bin\" }"], &[], "PATH", Some("/opt/bin")),
    (&["[environment]\nkeep = [\"container\"]"], &[], "container", Some("sbx")),
    (&["[environment]\nset = { container = \"docker\" }"], &[], "container", Some("docker")),
    (&["[environment]\nset = { PWD = \"/x\" }"], &[], "PWD", Some("/home/ann")),
    (&[PROFILE], &["--env", "CI=3"], "CI", Some("3")),
    (&[PROFILE], &["--env", "CI"], "CI", Some("0")),
    (&[], &["--env", "SECRET"], "SECRET", Some("s")),
    (&[], &["--env", "A=b=c"], "A", Some("b=c")),
    (&[], &["--env", "EMPTY="], "EMPTY", Some("")),
    (&[], &["--env", "X=1", "--env", "X=2"], "X", Some("2")),
    (&[], &["--env", "HOME=/x"], "HOME", Some("/x")),
    (&[], &["--env", "odd name=v"], "odd name", Some("v")),
    (&[], &["--set", "environment.set.CI=\"9\""], "CI", Some("9")),
    (&[PROFILE], &["--set", "environment.set.CI=false"], "CI", None),
    (&[], &["--set", "environment.keep=[\"SECRET\"]"], "SECRET", Some("s")),
    (&[], &["--cwd", "rw"], "PWD", Some("/home/ann/project")),
    (&[], &["--chdir", "/usr"], "PWD", Some("/usr")),
    (&["environment.set.A = '${HOME}/x'"], &[], "A", Some("/home/ann/x")),
    (&["environment.set.A = '${CWD}'"], &[], "A", Some("/home/ann/project")),
    (&["environment.set.A = '${XDG_RUNTIME_DIR}/a-${UID}'"], &[], "A", Some("/run/user/1000/a-1000")),
    (&["environment.set.A = '${NO_TOKEN}'"], &[], "A", Some("${NO_TOKEN}")),
    (&["environment.set.A = 'in ${HOME}'"], &[], "A", Some("in ${HOME}")),
    (&["environment.set.A = '${UID}'"], &[], "A", Some("${UID}")),
    (&[], &["--env", "A=${HOME}"], "A", Some("${HOME}")),
];

#[test]
fn the_last_word_wins() {
    let host = Host { environment: variables(CALLER), ..host() };
    for (texts, arguments, name, wanted) in ROWS {
        let plan = plan_on(&host, texts, arguments).expect(name);
        assert_eq!(variable(&plan, name), wanted.map(AsRef::as_ref), "{name}: {texts:?} {arguments:?}");
    }
}

#[test]
fn a_variable_that_is_not_set_cannot_be_passed_on() {
    assert_eq!(refusal(&host(), &[], &["--env", "NOT_THERE"]), PlanError::NoVariable("NOT_THERE".into()));
    assert_eq!(
        refusal(&Host { environment: Vec::new(), ..host() }, &[], &["--env", "LANG"]),
        PlanError::NoVariable("LANG".into())
    );
}

#[test]
fn nothing_else_is_there() {
    let names: Vec<_> = plan(&[], &[]).environment.into_iter().map(|variable| variable.name).collect();
    assert_eq!(names, ["HOME", "LANG", "LOGNAME", "PATH", "PWD", "USER", "XDG_RUNTIME_DIR", "container"]);
}

#[test]
fn values_are_bytes() {
    let odd = OsString::from_vec(b"\xff\n\x1b".to_vec());
    let host = Host {
        environment: vec![
            ("LANG".into(), odd.clone()),
            (OsString::from_vec(b"LC_\xfe".to_vec()), "x".into()),
        ],
        ..host()
    };
    let plan = plan_on(&host, &[], &[]).expect("a plan");
    assert_eq!(variable(&plan, "LANG"), Some(odd.as_os_str()));
    let json: serde_json::Value =
        serde_json::from_str(&sbx::explain::json(&plan).expect("JSON")).expect("JSON");
    let entries = json["environment"].as_array().expect("a list");
    assert!(
        entries
            .iter()
            .any(|entry| entry["name"] == "LANG" && entry["value"] == serde_json::json!({ "hex": "ff0a1b" }))
    );
    assert!(
        entries
            .iter()
            .any(|entry| entry["name"] == serde_json::json!({ "hex": "4c435ffe" }) && entry["value"] == "x")
    );
    let text = sbx::explain::text(&plan);
    assert!(text.contains("LANG=\\xff\\n\\x1b") && !text.contains('\x1b'), "{text}");
}
