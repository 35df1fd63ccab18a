//! What is different between an explained plan and what is seen of its run.

use crate::common::process::{Limit, Mount};
use crate::explained::{self, Wanted, bytes};
use crate::observe::Seen;
use crate::tree;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Every difference, one line each.
pub(crate) fn differences(plan: &Value, seen: &Seen) -> Vec<String> {
    let mut found = Vec::new();
    identity(&mut found, plan, seen);
    namespaces(&mut found, plan, seen);
    mounts(&mut found, plan, seen);
    files(&mut found, plan, seen);
    privileges(&mut found, plan, seen);
    limits(&mut found, plan, seen);
    environment(&mut found, plan, seen);
    same(&mut found, "hostname", plan["hostname"]["value"].as_str().unwrap_or_default(), &seen.hostname);
    same(&mut found, "directory", &explained::path(&plan["directory"]["value"]), &seen.cwd);
    same(&mut found, "command", &list(&plan["command"]), &seen.argv);
    let kept = plan["keep-fds"].as_array().into_iter().flatten().filter_map(Value::as_i64);
    let kept: Vec<i32> = [0, 1, 2].into_iter().chain(kept.filter_map(|fd| i32::try_from(fd).ok())).collect();
    same(&mut found, "descriptors", &kept, &seen.descriptors);
    found
}

fn same<T: PartialEq + std::fmt::Debug + ?Sized>(found: &mut Vec<String>, what: &str, wanted: &T, seen: &T) {
    if wanted != seen {
        found.push(format!("{what}: explained as {wanted:?}, seen as {seen:?}"));
    }
}

fn list(value: &Value) -> Vec<Vec<u8>> {
    value.as_array().into_iter().flatten().map(bytes).collect()
}

fn identity(found: &mut Vec<String>, plan: &Value, seen: &Seen) {
    let id = |key: &str| plan["identity"][key].as_u64().unwrap_or(u64::MAX);
    let (uid, gid) = (id("outside-uid"), id("outside-gid"));
    same(found, "uid map", &vec![id("uid"), uid, 1], &seen.uid_map);
    same(found, "gid map", &vec![id("gid"), gid, 1], &seen.gid_map);
    same(found, "setgroups", "deny", &seen.setgroups);
    let ids = |key| seen.payload.status.numbers(key).unwrap_or_default();
    same(found, "uid", &vec![uid; 4], &ids("Uid"));
    same(found, "gid", &vec![gid; 4], &ids("Gid"));
    same(found, "groups", &seen.own.status.numbers("Groups").unwrap_or_default(), &ids("Groups"));
}

fn namespaces(found: &mut Vec<String>, plan: &Value, seen: &Seen) {
    let namespaces = &plan["namespaces"];
    let network = namespaces["network"]["value"].as_str().unwrap_or_default();
    for (name, own) in &seen.own.namespaces {
        let separate = match name.as_str() {
            "user" | "mnt" => true,
            "net" => network != "host",
            "time" | "time_for_children" => !namespaces["time"].is_null(),
            other => namespaces[other.trim_end_matches("_for_children")] == true,
        };
        let word = |separate: bool| if separate { "of its own" } else { "the caller's" };
        let inside = seen.payload.namespaces.get(name);
        same(found, &format!("namespace {name}"), word(separate), word(inside != Some(own)));
    }
    let interfaces = if network == "host" { seen.own.interfaces.clone() } else { vec!["lo".to_owned()] };
    same(found, "interfaces", &interfaces, &seen.payload.interfaces);
    let nested = namespaces["nested"]["value"].as_str().unwrap_or_default();
    for (kind, least) in [("user", "none"), ("mnt", "browser")] {
        let closed = seen.ceilings.get(format!("{kind}_namespaces").as_str()) == Some(&0);
        same(found, &format!("no {kind} namespaces inside"), &(nested == least), &closed);
    }
    for (key, name) in [("instances", "inotify_instances"), ("files", "inotify_watches")] {
        let wanted = plan["limits"]["watches"][key].as_u64();
        same(found, name, &wanted, &seen.ceilings.get(name).copied());
    }
    for clock in ["boottime", "monotonic"] {
        let key = format!("{clock}-ns");
        let offset = match &namespaces["time"]["value"][&key] {
            Value::Null => seen.own_clock(clock),
            value => value.as_i64().map(|ns| (ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000))),
        };
        same(found, clock, &offset, &seen.clocks.get(clock).copied());
    }
}

impl Seen {
    /// The offset of a clock of whoever started it: they have the time namespace of the machine.
    fn own_clock(&self, clock: &str) -> Option<(i64, i64)> {
        self.clocks.contains_key(clock).then_some((0, 0))
    }
}

fn mounts(found: &mut Vec<String>, plan: &Value, seen: &Seen) {
    let wanted = explained::mounts(plan, &seen.own.mounts);
    let there = &seen.payload.mounts;
    let mut pairs: Vec<(&Wanted, &Mount)> = Vec::new();
    let mut left: Vec<&Mount> = there.iter().collect();
    for one in &wanted {
        // Of mounts at one place, the first in the plan is the first that was made.
        match left.iter().position(|mount| mount.target == one.target) {
            Some(at) => pairs.push((one, left.remove(at))),
            None => found.push(format!("mount {}: explained, not seen", one.target.display())),
        }
    }
    found.extend(left.iter().map(|mount| format!("mount {}: seen, not explained", mount.target.display())));
    order(found, &pairs, there);
    for (one, mount) in &pairs {
        properties(found, one, mount);
        let covered_on_purpose = wanted.iter().rfind(|other| other.target == one.target);
        let visible = tree::leads_to(there, &one.target).is_some_and(|top| top.id == mount.id);
        if !visible && covered_on_purpose.is_some_and(|last| std::ptr::eq(last, *one)) {
            found.push(format!("mount {}: covered by another", one.target.display()));
        }
    }
}

/// The mounts stand in the order of the plan. Not the procfs: it is made first, for the ceilings; nor what came along below
/// a bind.
fn order(found: &mut Vec<String>, pairs: &[(&Wanted, &Mount)], there: &[Mount]) {
    let place = |mount: &Mount| there.iter().position(|other| other.id == mount.id);
    let in_order = pairs
        .iter()
        .filter(|(one, _)| !one.taken_along && (one.kind != "proc" || one.root.as_deref() != Some("/")));
    let places: Vec<_> = in_order.map(|(one, mount)| (place(mount), &one.target)).collect();
    let wrong = places.windows(2).find(|pair| pair[0].0 > pair[1].0);
    if let Some([(_, first), (_, second)]) = wrong {
        found.push(format!(
            "order: {} explained before {}, seen after it",
            first.display(),
            second.display()
        ));
    }
}

fn properties(found: &mut Vec<String>, one: &Wanted, mount: &Mount) {
    let name = |what: &str| format!("mount {}: {what}", one.target.display());
    same(found, &name("filesystem"), &one.kind, &mount.kind);
    same(found, &name("options"), &one.flags, &explained::flags(mount));
    if let Some(root) = &one.root {
        same(found, &name("root"), root, &mount.root);
    }
    for parameter in &one.parameters {
        if !mount.super_options.contains(parameter) {
            found.push(format!("{}: {parameter} is not in {:?}", name("parameters"), mount.super_options));
        }
    }
}

/// What the files of the root filesystem hold.
fn files(found: &mut Vec<String>, plan: &Value, seen: &Seen) {
    for mount in plan["mounts"].as_array().into_iter().flatten() {
        let wanted = match mount["op"].as_str().unwrap_or_default() {
            "symlink" => bytes(&mount["target"]),
            "file" | "data" => bytes(&mount["content"]["bytes"]),
            "copy" => fs::read(explained::path(&mount["source"])).unwrap_or_default(),
            _ => continue,
        };
        let dest = explained::path(&mount["dest"]);
        if seen.files.get(&dest) != Some(&wanted) {
            found.push(format!("file {}: not as explained", dest.display()));
        }
    }
}

fn privileges(found: &mut Vec<String>, plan: &Value, seen: &Seen) {
    let privileges = &plan["privileges"];
    let (own, there) = (&seen.own.status, &seen.payload.status);
    if privileges["drop-capabilities"] == true {
        match there.capabilities() {
            Ok(sets) => {
                let names = ["inheritable", "permitted", "effective", "bounding", "ambient"];
                for (name, set) in names.iter().zip(sets) {
                    same(found, &format!("{name} capabilities"), &0, &set);
                }
            }
            Err(error) => found.push(format!("capabilities: {error:?}")),
        }
    }
    let number = |key| there.number(key).ok();
    let no_new_privs =
        if privileges["no-new-privs"] == true { Some(1) } else { own.number("NoNewPrivs").ok() };
    same(found, "no_new_privs", &no_new_privs, &number("NoNewPrivs"));
    let seccomp = if plan["seccomp"].is_null() { own.number("Seccomp").ok() } else { Some(2) };
    same(found, "seccomp", &seccomp, &number("Seccomp"));
    let hidden = seen.init_argv.iter().all(|byte| *byte == 0);
    same(found, "PID 1's arguments wiped", &(privileges["hide-init"] == true), &hidden);
}

fn limits(found: &mut Vec<String>, plan: &Value, seen: &Seen) {
    let limits = &plan["limits"];
    let asked: BTreeMap<&str, u64> =
        [("Max core file size", "core"), ("Max processes", "processes"), ("Max open files", "open-files")]
            .into_iter()
            .filter_map(|(name, key)| Some((name, limits[key]["value"].as_u64()?)))
            .collect();
    for (name, own) in &seen.own.limits {
        let wanted: Limit = match asked.get(name.as_str()) {
            // No limit is ever raised above the caller's.
            Some(value) => {
                let value = own.1.map_or(*value, |hard| hard.min(*value));
                (Some(value), Some(value))
            }
            None => *own,
        };
        same(found, name, &Some(&wanted), &seen.payload.limits.get(name));
    }
}

fn environment(found: &mut Vec<String>, plan: &Value, seen: &Seen) {
    let variable = |value: &Value| [bytes(&value["name"]), bytes(&value["value"])].join(&b'=');
    let wanted: Vec<_> = plan["environment"].as_array().into_iter().flatten().map(variable).collect();
    let text = |entry: &[u8]| String::from_utf8_lossy(entry).into_owned();
    let only = |these: &[Vec<u8>], those: &[Vec<u8>]| -> Vec<String> {
        these.iter().filter(|entry| !those.contains(entry)).map(|entry| text(entry)).collect()
    };
    let (missing, extra) = (only(&wanted, &seen.environ), only(&seen.environ, &wanted));
    if !missing.is_empty() || !extra.is_empty() {
        found.push(format!("environment: explained {missing:?}, seen {extra:?}"));
    } else if wanted != seen.environ {
        found.push("environment: in another order or not once each".to_owned());
    }
}

/// Whether a path is one of the mounts that are seen.
pub(crate) fn is_mounted(seen: &Seen, path: &Path) -> bool {
    seen.payload.mounts.iter().any(|mount| mount.target == path)
}
