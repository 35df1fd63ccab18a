//! What layers do to each other.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::Scratch;
use crate::profile::load::ProfileError;
use crate::profile::value::ByteSize;
use crate::profile::{
    Bandwidth, EntryKind, LandlockScope, Level, Origin, RootSource, TimeOffsets, Wayland, WritableLayer,
};

/// Every key of the schema.
const EVERY_KEY: &str = r#"
description = "Everything"
extends = ["offline"]
match = ["/usr/bin/make"]
app-id = "org.example.Build"
[filesystem]
root = "image:debian"
layers = ["/srv/upper", "/srv/lower"]
writable = "layer:work"
cwd = "rw"
read = ["/opt/toolchain", { path = "/srv/data", dest = "/data", optional = true }]
write = [{ path = "${HOME}/.cache/ccache", optional = true }]
hide = ["/opt/secret"]
tmpfs = ["/scratch", { path = "/var/tmp", size = "1G" }]
overlay = ["/srv/www", { path = "/srv/db" }]
protect = [".git/hooks", ".envrc"]
arguments = "ro"
accounts = true
[home]
mode = "private"
[namespaces]
nested = "browser"
hostname = "box-1.example"
time = { boottime = "-90s", monotonic = 5 }
[privileges]
uid = "root"
capabilities = ["CAP_SYS_ADMIN", "net_raw"]
[network]
mode = "proxy"
allow = ["*.example.org", "git.example.org:22"]
deny = ["bad.example.org"]
allow-private = ["10.0.0.0/8"]
publish = ["8080"]
block-lan = true
bandwidth = { up = "10M", down = 1024 }
[limits]
memory = "2G"
swap = "0"
cpus = 1.5
pids = 500
open-files = 4096
timeout = "1h"
level = "require"
[seccomp]
allow = ["@debug"]
deny = ["ptrace"]
multiarch = true
[landlock]
level = "prefer"
scope = ["signal", "-abstract-unix"]
files = true
[environment]
set = { CI = "1", A = "2" }
keep = ["GIT_*", "-SHELL"]
[display]
wayland = "optional"
x11 = "private"
[audio]
playback = true
[devices]
gpu = true
[dbus]
session = ["talk=org.freedesktop.Notifications"]
[terminal]
mode = "inherit"
"#;

#[test]
fn every_key_arrives() {
    let scratch = Scratch::with(&[("upper/all.toml", EVERY_KEY)]);
    let (profile, warnings) = scratch.load(&["all"], &[]).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(profile.filesystem.root.value, RootSource::Image("debian".into()));
    assert_eq!(profile.filesystem.writable.value, WritableLayer::Named("work".into()));
    assert_eq!(profile.filesystem.layers.len(), 2);
    let entries: Vec<_> = profile.filesystem.entries.iter().map(|entry| &entry.value).collect();
    let kinds: Vec<_> = entries.iter().map(|entry| entry.kind).collect();
    use EntryKind::{Hide, Overlay, Read, Tmpfs, Write};
    assert_eq!(kinds, [Read, Read, Write, Hide, Tmpfs, Tmpfs, Overlay, Overlay]);
    assert_eq!(entries[1].dest.as_ref().unwrap().to_string(), "/data");
    assert!(entries[1].optional && entries[2].optional && !entries[0].optional);
    assert_eq!(entries[5].size, Some(ByteSize(1 << 30)));
    let time = profile.namespaces.time.unwrap().value;
    assert_eq!(time, TimeOffsets { boottime: -90_000_000_000, monotonic: 5_000_000_000 });
    assert_eq!(
        profile.privileges.capabilities.iter().map(|cap| cap.value).collect::<Vec<_>>(),
        [caps::Capability::CAP_SYS_ADMIN, caps::Capability::CAP_NET_RAW]
    );
    let bandwidth = profile.network.bandwidth.unwrap().value;
    assert_eq!(bandwidth, Bandwidth { up: Some(ByteSize(10 << 20)), down: Some(ByteSize(1024)) });
    assert_eq!(profile.limits.cpus.unwrap().value.value, 1.5);
    assert_eq!(profile.limits.timeout.unwrap().value, Duration::from_secs(3600));
    assert_eq!(profile.limits.level.value, Level::Require);
    assert_eq!(profile.landlock.scope.len(), 1);
    assert_eq!(profile.landlock.scope[0].value, LandlockScope::Signal);
    assert_eq!(profile.display.wayland.value, Wayland::Optional);
    // In the order of the text, not of the alphabet.
    assert_eq!(profile.environment.set.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["CI", "A"]);
    assert!(!profile.environment.keep.iter().any(|pattern| pattern.value.as_str() == "SHELL"));
    assert_eq!(profile.app_id.unwrap().value, "org.example.Build");
    let Origin::Profile(location) = profile.limits.pids.origin else { panic!("an origin") };
    assert_eq!(&location.source.text[location.range], "500");
}

#[test]
fn scalars() {
    let scratch = Scratch::with(&[
        ("upper/low.toml", "app-id = 'org.example.Low'\n[limits]\npids = 1\nmemory = '1G'"),
        ("upper/top.toml", "extends = ['low']\ndescription = 'top'\n[limits]\npids = 2"),
        ("upper/bare.toml", "extends = ['top']"),
    ]);
    let profile = scratch.profile(&["top"]);
    assert_eq!(profile.limits.pids.value.value, 2);
    assert_eq!(profile.limits.memory.unwrap().value.value, ByteSize(1 << 30));
    assert_eq!(profile.app_id.unwrap().value, "org.example.Low");
    assert_eq!(scratch.profile(&["bare"]).description, None);
}

#[test]
fn small_tables_merge_by_key() {
    let scratch = Scratch::with(&[
        ("upper/low.toml", "[namespaces.time]\nboottime = '1s'\n[network]\nbandwidth.up = 1"),
        ("upper/top.toml", "[namespaces]\ntime = { monotonic = '2s' }\n[network.bandwidth]\ndown = 2"),
    ]);
    let profile = scratch.profile(&["low", "top"]);
    let time = profile.namespaces.time.unwrap().value;
    assert_eq!(time, TimeOffsets { boottime: 1_000_000_000, monotonic: 2_000_000_000 });
    let bandwidth = profile.network.bandwidth.unwrap().value;
    assert_eq!(bandwidth, Bandwidth { up: Some(ByteSize(1)), down: Some(ByteSize(2)) });
}

#[test]
fn lists() {
    for (low, top, merged, warnings) in [
        ("'a', 'b'", "'c'", &["a", "b", "c"][..], 0),
        ("'a', 'b'", "'-a'", &["b"], 0),
        ("'a', 'b'", "'a'", &["b", "a"], 0),
        ("'a', 'b'", "'-a', 'a'", &["b", "a"], 0),
        ("'a', 'b', 'a'", "", &["b", "a"], 0),
        ("'a'", "'-x', 'b'", &["a", "b"], 1),
    ] {
        let scratch = Scratch::with(&[
            ("upper/low.toml", &format!("[network]\nallow = [{low}]")),
            ("upper/top.toml", &format!("[network]\nallow = [{top}]")),
        ]);
        let (profile, warned) = scratch.load(&["low", "top"], &[]).unwrap();
        let values: Vec<_> = profile.network.allow.iter().map(|host| host.value.as_str()).collect();
        assert_eq!((values.as_slice(), warned.len()), (merged, warnings), "{low} + {top}");
    }
}

#[test]
fn paths() {
    let scratch = Scratch::with(&[
        (
            "upper/low.toml",
            "[filesystem]\nread = ['/a', { path = '/b', optional = true }]\nwrite = ['/b2', '/c']",
        ),
        ("upper/top.toml", "[filesystem]\nread = ['-/a', '-/b', '-/c', '${HOME}/x']\nhide = ['/c']"),
    ]);
    let (profile, warnings) = scratch.load(&["low", "top"], &[]).unwrap();
    let entries: Vec<_> = profile
        .filesystem
        .entries
        .iter()
        .map(|entry| (entry.value.kind, entry.value.path.to_string()))
        .collect();
    let expected = [
        (EntryKind::Write, "/b2"),
        (EntryKind::Write, "/c"),
        (EntryKind::Read, "${HOME}/x"),
        (EntryKind::Hide, "/c"),
    ];
    assert_eq!(entries, expected.map(|(kind, path)| (kind, path.to_owned())));
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].to_string(), "nothing to remove from `filesystem.read`: no lower layer has this");
}

#[test]
fn one_destination_twice_in_a_layer() {
    for (table, destination) in [
        ("read = ['/a', '/a']", "/a"),
        ("read = ['/a']\nhide = ['/a//']", "/a//"),
        ("hide = ['/x/y']\nread = [{ path = '/a', dest = '/x/./y' }]", "/x/y"),
        ("tmpfs = ['${HOME}/t']\nwrite = ['${HOME}/t']", "${HOME}/t"),
    ] {
        let scratch = Scratch::with(&[("upper/x.toml", &format!("[filesystem]\n{table}"))]);
        match scratch.load(&["x"], &[]) {
            Err(ProfileError::Twice { destination: found, first, second }) => {
                assert_eq!(found, destination);
                assert!(first.range.start < second.range.start, "{table}");
            }
            other => panic!("{table}: {other:?}"),
        }
    }
}

#[test]
fn variables() {
    let scratch = Scratch::with(&[
        ("upper/low.toml", "[environment]\nset = { A = '1', B = '2', C = '3' }"),
        ("upper/top.toml", "[environment]\nset = { D = '4', B = '5', A = false, X = false }"),
    ]);
    let (profile, warnings) = scratch.load(&["low", "top"], &[]).unwrap();
    let set: Vec<_> =
        profile.environment.set.iter().map(|(name, value)| (name.as_str(), value.value.as_str())).collect();
    assert_eq!(set, [("B", "5"), ("C", "3"), ("D", "4")]);
    assert_eq!(warnings.len(), 1);
}

#[test]
fn many_entries_merge() {
    let list: String = (0..20_000).map(|number| format!("'/p/{number}',")).collect();
    let text = format!("[filesystem]\nread = [{list}]");
    let scratch = Scratch::with(&[("upper/low.toml", &text), ("upper/top.toml", &text)]);
    assert_eq!(scratch.profile(&["low", "top"]).filesystem.entries.len(), 20_000);
}
