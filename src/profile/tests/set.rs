//! `--set KEY=VALUE`.
#![forbid(unsafe_code)]

use super::Scratch;
use crate::profile::value::ByteSize;
use crate::profile::{CwdMode, Origin, Profile};

fn set(typed: &[&str]) -> Profile {
    let scratch = Scratch::new();
    match scratch.load(&["offline"], typed) {
        Ok((profile, _)) => profile,
        Err(error) => panic!("{}", scratch.render(&error)),
    }
}

#[test]
fn toml_values_and_plain_text() {
    for memory in
        ["limits.memory=2G", "limits.memory=\"2G\"", "limits.memory = 2147483648", "limits={memory='2G'}"]
    {
        let profile = set(&[memory]);
        let setting = profile.limits.memory.unwrap();
        assert_eq!(setting.value.value, ByteSize(2 << 30), "{memory}");
        assert_eq!(setting.origin, Origin::Flag(format!("--set {memory}")));
    }
    assert_eq!(set(&["filesystem.cwd=ro"]).filesystem.cwd.value, CwdMode::Ro);
    assert_eq!(set(&["limits.pids=1", "limits.pids=2"]).limits.pids.value.value, 2);
    assert_eq!(set(&["namespaces.hostname=7"]).namespaces.hostname.value, "7");
    assert_eq!(
        set(&["namespaces.time.boottime=-1h"]).namespaces.time.unwrap().value.boottime,
        -3_600_000_000_000
    );
    assert_eq!(set(&["description=don't \"quote\" \\n"]).description.unwrap().value, "don't \"quote\" \\n");
    assert_eq!(set(&["limits.pids=3"]).layers, ["built-in profile offline", "--set limits.pids=3"]);
}

#[test]
fn variables() {
    for (typed, value) in [
        ("environment.set.A=x=y", "x=y"),
        ("environment.set.A=", ""),
        ("environment.set.A=1", "1"),
        ("environment.set.A=true", "true"),
        ("environment.set.A=two\nlines", "two\nlines"),
        ("environment.set.A=1\nnetwork.mode=\"host\"", "1\nnetwork.mode=\"host\""),
    ] {
        let profile = set(&[typed]);
        assert_eq!(profile.environment.set[0].1.value, value, "{typed}");
        assert!(profile.network.mode.is_default());
    }
    assert_eq!(set(&["environment.set.A=x", "environment.set.A=false"]).environment.set, []);
}

#[test]
fn lists_append() {
    let profile = set(&["network.allow=['a']", "network.allow=['b']", "network.allow=['-a']"]);
    let hosts: Vec<_> = profile.network.allow.iter().map(|host| host.value.as_str()).collect();
    assert_eq!(hosts, ["b"]);
}

#[test]
fn mistakes_point_into_what_was_typed() {
    let scratch = Scratch::new();
    for (typed, message) in [
        (
            "limits.pid=3",
            "--set:1:8: unknown key `pid`\n  | limits.pid=3\n  |        ^^^\n  hint: did you mean `pids`?\n",
        ),
        (
            "limits.memory=2X",
            "--set:1:15: `2X` is not a size; write it like 512M or 1.5G\n  \
             | limits.memory=2X\n  |               ^^\n",
        ),
        (
            "limits.pids=many",
            "--set:1:13: this must be a number, not string \"many\"\n  \
             | limits.pids=many\n  |             ^^^^\n",
        ),
        (
            "limits.pids=-1",
            "--set:1:13: -1 is too small; 1 is the least\n  | limits.pids=-1\n  |             ^^\n",
        ),
        (
            "filesystem.read=['/a', 'b']",
            "--set:1:24: `b` is not an absolute path\n  \
             | filesystem.read=['/a', 'b']\n  |                        ^^^\n",
        ),
        (
            "filesystem.read=['/a', '/a']",
            "--set:1:24: `/a` is named twice, first at --set:1:18\n  \
             | filesystem.read=['/a', '/a']\n  |                        ^^^^\n  hint: leave one of them out\n",
        ),
        (
            "filesystem.read=/a",
            "--set:1:17: this must be a list, not string \"/a\"\n  | filesystem.read=/a\n  |                 ^^\n",
        ),
    ] {
        let error = scratch.load(&[], &[typed]).unwrap_err();
        assert_eq!(scratch.render(&error), format!("sbx: error: {message}"));
    }
}

#[test]
fn keys() {
    let scratch = Scratch::new();
    for (typed, cause) in [
        ("limits.pids", "there is no `=`"),
        ("=3", "its key is not words with dots between them"),
        ("limits..pids=3", "its key is not words with dots between them"),
        ("[limits]\npids=3", "its key is not words with dots between them"),
        ("a=1#\nb=2", "--set:1:1: unknown key `a`"),
        ("\"limits\".pids=3", "its key is not words with dots between them"),
        ("schema=1", "this key belongs in a file"),
        ("extends=['build']", "this key belongs in a file"),
    ] {
        let error = scratch.load(&[], &[typed]).unwrap_err();
        let message = scratch.render(&error);
        assert!(message.contains(cause), "{typed}: {message}");
    }
}
