//! What is not built yet is refused by name, and its default is not.

use crate::plan::given::{host, plan, plan_on, refusal};
use sbx::diag::Diagnose as _;
use sbx::plan::PlanError;

/// Keys, values that ask for something, values that don't.
const KEYS: [(&str, &[&str], &[&str]); 11] = [
    ("filesystem.root", &["\"image:debian\""], &["\"host\"", "\"empty\"", "\"/srv/root\""]),
    ("network.mode", &["\"private\"", "\"proxy\""], &["\"none\"", "\"host\""]),
    ("network.allow", &["[\"example.org\"]"], &["[]"]),
    ("network.deny", &["[\"example.org\"]"], &["[]"]),
    ("network.allow-private", &["[\"192.0.2.1\"]"], &["[]"]),
    ("network.publish", &["[\"8080\"]"], &["[]"]),
    ("network.block-lan", &["true"], &["false"]),
    ("network.bandwidth", &["{ up = \"1M\" }"], &["{}"]),
    ("seccomp.multiarch", &["true"], &["false"]),
    ("display.x11", &["\"private\""], &["\"off\"", "\"host\""]),
    ("dbus.session", &["[\"org.example\"]"], &["[]"]),
];

#[test]
fn keys_are_refused_by_name() {
    for (key, asking, idle) in KEYS {
        for value in asking {
            let in_file = refusal(&host(), &[&format!("{key} = {value}")], &[]);
            assert!(
                matches!(&in_file, PlanError::NotBuilt { what, .. } if what == key),
                "{key} = {value}: {in_file:?}"
            );
            assert!(in_file.location().is_some() && in_file.hint().is_some(), "{key}");
            let typed = refusal(&host(), &[], &["--set", &format!("{key}={value}")]);
            assert!(
                matches!(&typed, PlanError::NotBuilt { what, .. } if what == key),
                "--set {key}={value}: {typed:?}"
            );
            assert!(typed.to_string().contains(key), "{typed}");
        }
        for value in idle {
            assert!(plan_on(&host(), &[&format!("{key} = {value}")], &[]).is_ok(), "{key} = {value}");
        }
    }
}

#[test]
fn options_are_refused_by_name() {
    for arguments in [
        &["--root", "image:x"][..],
        &["--net", "private"],
        &["--net", "proxy"],
        &["--allow-host", "example.org"],
        &["--publish", "8080"],
    ] {
        let error = refusal(&host(), &[], arguments);
        assert!(matches!(error, PlanError::NotBuilt { .. }), "{arguments:?}: {error:?}");
        assert!(error.to_string().contains(arguments[0]) && error.hint().is_some(), "{arguments:?}: {error}");
    }
}

/// A later layer that takes the wish back takes the refusal with it.
#[test]
fn what_a_later_layer_takes_back_is_not_refused() {
    for (asks, takes_back) in [
        ("network.mode = \"proxy\"", "network.mode = \"none\""),
        ("seccomp.multiarch = true", "seccomp.multiarch = false"),
        ("network.allow = [\"example.org\"]", "network.allow = [\"-example.org\"]"),
        ("display.x11 = \"private\"", "display.x11 = \"host\""),
    ] {
        plan(&[asks, takes_back], &[]);
        assert!(matches!(refusal(&host(), &[takes_back, asks], &[]), PlanError::NotBuilt { .. }), "{asks}");
    }
    plan(&["network.mode = \"proxy\""], &["--net", "none"]);
}
