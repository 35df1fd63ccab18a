//! One difference of each kind, and it is caught: that one and no other.

use crate::common::process::Status;
use crate::common::{Case, User, Verdict};
use crate::compare::{differences, is_mounted};
use crate::observe::{Seen, observe};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A change to a plan and to what is seen, and how the one difference that it makes begins.
type Change = (&'static str, fn(&mut Value, &mut Seen));

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("every_change_of_a_mount_is_seen", |user| each(user, &[], MOUNTS)),
        Case::new("every_other_change_is_seen", |user| {
            each(user, &["--set", "namespaces.time.boottime=1h"], REST)
        }),
        Case::new("a_changed_plan_is_seen", |user| each(user, &[], PLANS)),
    ]
}

/// Makes each change to one run, and wants just its difference.
fn each(user: &User, options: &[&str], changes: &[Change]) -> Verdict {
    let (plan, seen) = observe(user, options)?;
    let clean = differences(&plan, &seen);
    if !clean.is_empty() {
        return Err(format!("different before any change:\n{}", clean.join("\n")).into());
    }
    let mut wrong = Vec::new();
    for (number, (beginning, change)) in changes.iter().enumerate() {
        let (mut plan, mut seen) = (plan.clone(), seen.clone());
        change(&mut plan, &mut seen);
        match &differences(&plan, &seen)[..] {
            [one] if one.starts_with(beginning) => {}
            found => wrong.push(format!("change {number} should be `{beginning}…` alone: {found:#?}")),
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

fn place(seen: &Seen, target: &str) -> usize {
    let at = |target: &str| seen.payload.mounts.iter().position(|mount| mount.target == Path::new(target));
    // What is not there is never found again either, so the case fails.
    at(target).unwrap_or_default()
}

fn set_option(seen: &mut Seen, target: &str, old: &str, new: &str) {
    let at = place(seen, target);
    let options = &mut seen.payload.mounts[at].options;
    options.retain(|option| option != old);
    if !new.is_empty() {
        options.push(new.to_owned());
    }
}

/// Changes a line of the status.
fn set_status(seen: &mut Seen, key: &str, value: &str) {
    seen.payload.status = status_with(&seen.payload.status, key, value);
}

fn status_with(status: &Status, key: &str, value: &str) -> Status {
    const KEYS: [&str; 11] = [
        "Uid",
        "Gid",
        "Groups",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "NSpid",
    ];
    let line = |name: &str| {
        let value = if name == key { value } else { status.field(name).unwrap_or_default() };
        format!("{name}:\t{value}\n")
    };
    Status::parse(&KEYS.map(line).concat())
}

fn share(seen: &mut Seen, name: &str) {
    let own = seen.own.namespaces.get(name).cloned().unwrap_or_default();
    seen.payload.namespaces.insert(name.to_owned(), own);
}

const MOUNTS: &[Change] = &[
    ("mount /usr: options", |_, seen| set_option(seen, "/usr", "ro", "rw")),
    ("mount /: options", |_, seen| set_option(seen, "/", "ro", "rw")),
    ("mount /tmp: options", |_, seen| set_option(seen, "/tmp", "rw", "ro")),
    ("mount /tmp: options", |_, seen| set_option(seen, "/tmp", "nosuid", "")),
    ("mount /usr: options", |_, seen| set_option(seen, "/usr", "nodev", "")),
    ("mount /proc: options", |_, seen| set_option(seen, "/proc", "noexec", "")),
    ("mount /dev/null: options", |_, seen| set_option(seen, "/dev/null", "", "nodev")),
    ("mount /run: explained, not seen", |_, seen| {
        let at = place(seen, "/run");
        seen.payload.mounts.remove(at);
    }),
    ("mount /extra: seen, not explained", |_, seen| {
        let mut extra = seen.payload.mounts[place(seen, "/run")].clone();
        (extra.id, extra.target) = (u32::MAX, "/extra".into());
        seen.payload.mounts.push(extra);
    }),
    ("mount /usr: seen, not explained", |_, seen| {
        // Below the other one, so that what is seen at the place is still right.
        let at = place(seen, "/usr");
        let mut lower = seen.payload.mounts[at].clone();
        lower.id = u32::MAX;
        seen.payload.mounts[at].parent = u32::MAX;
        seen.payload.mounts.insert(at + 1, lower);
    }),
    ("mount /usr: covered", |_, seen| {
        // The same, the other way round in the tree.
        let at = place(seen, "/usr");
        seen.payload.mounts[at].parent = u32::MAX;
    }),
    ("order: /run explained before /tmp", |_, seen| {
        let (run, tmp) = (place(seen, "/run"), place(seen, "/tmp"));
        seen.payload.mounts.swap(run, tmp);
    }),
    ("mount /usr: root", |_, seen| {
        let at = place(seen, "/usr");
        seen.payload.mounts[at].root = "/home".to_owned();
    }),
    ("mount /dev/pts: filesystem", |_, seen| {
        let at = place(seen, "/dev/pts");
        seen.payload.mounts[at].kind = "tmpfs".to_owned();
    }),
    ("mount /: parameters", |_, seen| {
        let at = place(seen, "/");
        seen.payload.mounts[at].super_options.retain(|option| !option.starts_with("size="));
    }),
    ("file /etc/passwd", |_, seen| {
        seen.files.insert("/etc/passwd".into(), b"root::0:0::/:/bin/sh\n".to_vec());
    }),
    ("file /dev/stdin", |_, seen| {
        seen.files.remove(Path::new("/dev/stdin"));
    }),
];

const REST: &[Change] = &[
    ("uid map", |_, seen| seen.uid_map[0] += 1),
    ("uid map", |_, seen| seen.uid_map[2] = 65536),
    ("gid map", |_, seen| seen.gid_map.extend([1, 1, 1])),
    ("setgroups", |_, seen| seen.setgroups = "allow".to_owned()),
    ("uid:", |_, seen| set_status(seen, "Uid", "1\t1\t1\t7")),
    ("gid:", |_, seen| set_status(seen, "Gid", "1\t1\t1\t7")),
    ("groups", |_, seen| set_status(seen, "Groups", "7777")),
    ("inheritable capabilities", |_, seen| set_status(seen, "CapInh", "0000000000000001")),
    ("permitted capabilities", |_, seen| set_status(seen, "CapPrm", "0000000000200000")),
    ("effective capabilities", |_, seen| set_status(seen, "CapEff", "0000008000000000")),
    ("bounding capabilities", |_, seen| set_status(seen, "CapBnd", "0000000000000400")),
    ("ambient capabilities", |_, seen| set_status(seen, "CapAmb", "0000000000000002")),
    ("no_new_privs", |_, seen| set_status(seen, "NoNewPrivs", "0")),
    ("seccomp", |_, seen| set_status(seen, "Seccomp", "1")),
    ("PID 1's arguments", |_, seen| seen.init_argv.extend(b"--env\0")),
    ("Max core file size", |_, seen| limit(seen, "Max core file size", (Some(0), None))),
    ("Max processes", |_, seen| limit(seen, "Max processes", (None, None))),
    ("Max stack size", |_, seen| limit(seen, "Max stack size", (Some(1), Some(1)))),
    ("environment: explained [\"container=sbx\"]", |_, seen| {
        seen.environ.retain(|entry| entry != b"container=sbx")
    }),
    ("environment: explained [], seen [\"SECRET=1\"]", |_, seen| seen.environ.push(b"SECRET=1".to_vec())),
    ("environment: explained [\"container=sbx\"], seen [\"container=\"]", |_, seen| {
        for entry in seen.environ.iter_mut().filter(|entry| *entry == b"container=sbx") {
            *entry = b"container=".to_vec();
        }
    }),
    ("environment: in another order", |_, seen| seen.environ.reverse()),
    ("namespace user", |_, seen| share(seen, "user")),
    ("namespace mnt", |_, seen| share(seen, "mnt")),
    ("namespace pid:", |_, seen| share(seen, "pid")),
    ("namespace pid_for_children", |_, seen| share(seen, "pid_for_children")),
    ("namespace net", |_, seen| share(seen, "net")),
    ("namespace uts", |_, seen| share(seen, "uts")),
    ("namespace ipc", |_, seen| share(seen, "ipc")),
    ("namespace cgroup", |_, seen| share(seen, "cgroup")),
    ("namespace time:", |_, seen| share(seen, "time")),
    ("interfaces", |_, seen| seen.payload.interfaces.push("eth0".to_owned())),
    ("no user namespaces inside", |_, seen| _ = seen.ceilings.insert("user_namespaces", 1)),
    ("no mnt namespaces inside", |_, seen| _ = seen.ceilings.insert("mnt_namespaces", 0)),
    ("inotify_instances", |_, seen| _ = seen.ceilings.insert("inotify_instances", 1)),
    ("inotify_watches", |_, seen| _ = seen.ceilings.remove("inotify_watches")),
    ("boottime", |_, seen| _ = seen.clocks.insert("boottime".to_owned(), (3600, 1))),
    ("monotonic", |_, seen| _ = seen.clocks.insert("monotonic".to_owned(), (-1, 0))),
    ("hostname", |_, seen| seen.hostname.push('x')),
    ("directory", |_, seen| seen.cwd = PathBuf::from("/")),
    ("command", |_, seen| _ = seen.argv.pop()),
    ("descriptors", |_, seen| seen.descriptors.push(7)),
];

fn limit(seen: &mut Seen, name: &str, value: crate::common::process::Limit) {
    seen.payload.limits.insert(name.to_owned(), value);
}

/// A mount of the plan.
fn mount<'a>(plan: &'a mut Value, dest: &str) -> &'a mut Value {
    let at = plan["mounts"].as_array().into_iter().flatten().position(|mount| mount["dest"] == dest);
    &mut plan["mounts"][at.unwrap_or_default()]
}

const PLANS: &[Change] = &[
    ("mount /usr: options", |plan, _| mount(plan, "/usr")["access"] = json!("writable")),
    ("mount /usr: options", |plan, _| mount(plan, "/usr")["devices"] = json!(true)),
    ("mount /usr: root", |plan, _| mount(plan, "/usr")["source"]["path"] = json!("/usr/bin")),
    ("mount /usr: seen, not explained", |plan, _| mount(plan, "/usr")["op"] = json!("dir")),
    ("mount /srv/new: explained, not seen", |plan, seen| {
        let mut new = mount(plan, "/usr").clone();
        new["dest"] = json!("/srv/new");
        assert!(!is_mounted(seen, Path::new("/srv/new")), "the case needs a place without a mount");
        plan["mounts"].as_array_mut().into_iter().for_each(|mounts| mounts.push(new.clone()));
    }),
    ("order: ", |plan, _| {
        let (run, tmp) = (mount(plan, "/run").clone(), mount(plan, "/tmp").clone());
        *mount(plan, "/tmp") = json!({ "dest": "/tmp.once" });
        *mount(plan, "/run") = tmp;
        *mount(plan, "/tmp.once") = run;
    }),
    ("mount /: options", |plan, _| plan["root"]["read-only"] = json!(false)),
    ("file /etc/hosts", |plan, _| mount(plan, "/etc/hosts")["content"]["bytes"] = json!("127.0.0.1 evil\n")),
    ("uid map", |plan, _| plan["identity"]["uid"] = json!(77_777)),
    ("namespace ipc", |plan, _| plan["namespaces"]["ipc"] = json!(false)),
    ("no user namespaces inside", |plan, _| plan["namespaces"]["nested"]["value"] = json!("full")),
    ("PID 1's arguments", |plan, _| plan["privileges"]["hide-init"] = json!(false)),
    ("Max processes", |plan, _| plan["limits"]["processes"]["value"] = json!(17)),
    ("Max open files", |plan, _| plan["limits"]["open-files"] = json!({ "value": 3 })),
    ("environment: ", |plan, _| plan["environment"][0]["value"] = json!({ "hex": "ff00" })),
    ("hostname", |plan, _| plan["hostname"]["value"] = json!("other")),
    ("directory", |plan, _| plan["directory"]["value"] = json!("/")),
    ("command", |plan, _| plan["command"][1] = json!("61")),
    ("descriptors", |plan, _| plan["keep-fds"] = json!([9])),
];
