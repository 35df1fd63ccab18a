//! `sbx explain`: a plan in words, each line with the file or option that set it, or in JSON.
#![forbid(unsafe_code)]

use std::fmt::Write;

use serde::Serialize;

use crate::diag::escape;
use crate::plan::{Access, BindSource, CgroupPlace, ChangesLayer, Mount, MountOp, OverlayUpper, Plan};
use crate::profile::value::{ByteSize, in_units};
use crate::profile::{Background, Level, Nested, NetworkMode, Origin, TerminalMode};

/// The version of the JSON form. Additions don't change it.
const VERSION: u32 = 1;

/// The plan as JSON: `version`, then the fields of [`Plan`].
///
/// # Errors
/// None that a plan is known to cause.
pub fn json(plan: &Plan) -> Result<String, serde_json::Error> {
    #[derive(Serialize)]
    struct Explained<'a> {
        version: u32,
        #[serde(flatten)]
        plan: &'a Plan,
    }
    serde_json::to_string_pretty(&Explained { version: VERSION, plan }).map(|text| text + "\n")
}

/// The plan in words.
pub fn text(plan: &Plan) -> String {
    let mut page = Page::default();
    identity(&mut page, plan);
    namespaces(&mut page, plan);
    filesystem(&mut page, plan);
    if !plan.exposed.is_empty() {
        page.section("Of your session");
        for exposed in &plan.exposed {
            page.line("", &exposed.value, Some(&exposed.origin));
        }
    }
    limits(&mut page, plan);
    privileges(&mut page, plan);
    page.section("Environment");
    for variable in &plan.environment {
        page.line(
            "",
            &format!("{}={}", escape(&variable.name), escape(&variable.value)),
            Some(&variable.origin),
        );
    }
    page.finish()
}

/// Lines of three columns: a word, what it is, who set it.
#[derive(Default)]
struct Page {
    out: String,
}

impl Page {
    /// Columns up to the origin.
    const WIDTH: usize = 72;

    fn section(&mut self, title: &str) {
        let newline = if self.out.is_empty() { "" } else { "\n" };
        let _ = writeln!(self.out, "{newline}{title}");
    }

    fn line(&mut self, word: &str, what: &str, origin: Option<&Origin>) {
        let mut left = if word.is_empty() { format!("  {what}") } else { format!("  {word:<11} {what}") };
        if let Some(origin) = origin {
            let pad = Self::WIDTH.saturating_sub(left.chars().count()).max(2);
            let _ = write!(left, "{}[{origin}]", " ".repeat(pad));
        }
        let _ = writeln!(self.out, "{left}");
    }

    fn finish(self) -> String {
        self.out
    }
}

fn identity(page: &mut Page, plan: &Plan) {
    page.section("Run");
    if !plan.command.is_empty() {
        let words: Vec<String> = plan.command.iter().map(escape).collect();
        page.line("command", &words.join(" "), None);
    }
    page.line("directory", &escape(&plan.directory.value.0), Some(&plan.directory.origin));
    if let Some(name) = &plan.name {
        page.line("name", name, None);
    }
    page.line("profile", &escape(&plan.profile), None);
    for layer in &plan.layers {
        page.line("", &format!("            {}", escape(layer)), None);
    }
    let identity = &plan.identity;
    page.line(
        "user",
        &format!(
            "uid {} and gid {} inside are {} and {} outside",
            identity.uid, identity.gid, identity.outside_uid, identity.outside_gid
        ),
        None,
    );
    if let Some(user) = &identity.runs_as {
        let groups: String = user.groups.iter().map(|group| format!(" {group}")).collect();
        let also = if groups.is_empty() { String::new() } else { format!(", and the groups{groups}") };
        let text = format!("            the command has uid {} and gid {}{also}", user.uid, user.gid);
        page.line("", &text, None);
    }
    if let Some(further) = &plan.identity.subordinate {
        for (what, ranges) in [("uids", &further.uids), ("gids", &further.gids)] {
            for range in ranges {
                let last = |first: u32| first.saturating_add(range.count - 1);
                let (inside, outside) = (range.inside, range.outside);
                let text = format!(
                    "            {what} {inside} to {} are {outside} to {} outside",
                    last(inside),
                    last(outside)
                );
                page.line("", &text, None);
            }
        }
    }
}

fn namespaces(page: &mut Page, plan: &Plan) {
    let namespaces = &plan.namespaces;
    page.section("Namespaces");
    let own = [
        ("pid", namespaces.pid),
        ("uts", namespaces.uts),
        ("ipc", namespaces.ipc),
        ("cgroup", namespaces.cgroup),
    ];
    let own: Vec<&str> = own.iter().filter(|(_, own)| *own).map(|(name, _)| *name).collect();
    page.line("its own", &format!("user, mount, {}", own.join(", ")), None);
    let network = match namespaces.network.value {
        NetworkMode::None => "loopback only",
        NetworkMode::Host => "the host's, all of it",
        other => other.word(),
    };
    page.line("network", network, Some(&namespaces.network.origin));
    page.line("hostname", &escape(&plan.hostname.value), Some(&plan.hostname.origin));
    if let Some(time) = &namespaces.time {
        let offsets = time.value;
        let what = format!("boottime {:+} ns, monotonic {:+} ns", offsets.boottime, offsets.monotonic);
        page.line("time", &what, Some(&time.origin));
    }
    let nested = match namespaces.nested.value {
        Nested::None => "no user namespaces inside",
        Nested::Browser => "user namespaces inside, but no mount namespaces",
        Nested::Full => "all namespaces inside",
    };
    page.line("nested", nested, Some(&namespaces.nested.origin));
}

fn filesystem(page: &mut Page, plan: &Plan) {
    let root = &plan.root;
    let access = if root.read_only { "read-only" } else { "writable" };
    page.section("Filesystem, in this order");
    page.line("root", &format!("/  {access}, at most {}", ByteSize(root.size)), None);
    for mount in &plan.mounts {
        let dest = escape(&mount.dest);
        let what = match &mount.op {
            MountOp::Bind { source, optional, .. } => {
                let source = match source {
                    BindSource::Path(path) if *path == mount.dest => String::new(),
                    BindSource::Path(path) => format!(" from {}", escape(path)),
                    BindSource::Fd(fd) => format!(" from descriptor {fd}"),
                };
                format!("{dest}{source}{}", if *optional { ", if it exists" } else { "" })
            }
            MountOp::Tmpfs { size, access, .. } => {
                let access = if *access == Access::ReadOnly { ", read-only" } else { "" };
                format!("{dest}  at most {}{access}", ByteSize(*size))
            }
            MountOp::Symlink { target } => format!("{dest} -> {}", escape(target)),
            MountOp::Own { uid, gid } => format!("{dest} is {uid}:{gid}'s"),
            MountOp::Overlay { lower, upper } => format!("{dest}{}", overlay(lower.len(), upper)),
            _ => dest,
        };
        page.line(mount.op.word(), &what, Some(&mount.origin));
    }
    if let Some(server) = &plan.overlay_server {
        let what = "served by fuse-overlayfs, a process for each in a sandbox of its own";
        page.line("overlays", what, Some(&server.origin));
    }
    for group in plan.protect.chunk_by(|left, right| left.origin == right.origin) {
        let paths: Vec<String> = group.iter().map(|protected| escape(&protected.path)).collect();
        let origin = group.first().map(|protected| &protected.origin);
        page.line("protect", &format!("in what is writable: {}", paths.join(" ")), origin);
    }
    let apart =
        |mount: &Mount| matches!(&mount.op, MountOp::Overlay { upper: OverlayUpper::Changes { .. }, .. });
    if !plan.protect.is_empty() && plan.mounts.iter().any(apart) {
        page.line("", "            not in an overlay: nothing there reaches the directory", None);
    }
}

/// What an overlay is made of, and where its writes go.
fn overlay(lower: usize, upper: &OverlayUpper) -> String {
    let upper = match upper {
        OverlayUpper::None => "read-only".to_owned(),
        OverlayUpper::Tmpfs { .. } => "writes are lost".to_owned(),
        OverlayUpper::Directory { .. } => "writes are kept".to_owned(),
        OverlayUpper::Kept { directory, .. } => format!("writes are kept in {}", escape(directory)),
        OverlayUpper::Changes { layers, layer, optional } => {
            let name = match layer {
                ChangesLayer::New(stem) => format!("{stem}-NUMBER"),
                ChangesLayer::Again(name) => name.clone(),
            };
            let optional = if *optional { ", if it exists" } else { "" };
            return format!("{optional}  stays as it is, writes are kept in {}", escape(layers.join(name)));
        }
    };
    format!("  {lower} lower dirs, {upper}")
}

fn limits(page: &mut Page, plan: &Plan) {
    let limits = &plan.limits;
    page.section("Limits");
    page.line("core dumps", &limits.core.value.to_string(), Some(&limits.core.origin));
    let unbound = if plan.identity.outside_uid == 0 { " (the kernel does not hold root to it)" } else { "" };
    page.line("processes", &format!("{}{unbound}", limits.processes.value), Some(&limits.processes.origin));
    if let Some(files) = &limits.open_files {
        page.line("open files", &files.value.to_string(), Some(&files.origin));
    }
    if let Some(watches) = &limits.watches {
        page.line("inotify", &format!("{} instances, {} files", watches.instances, watches.files), None);
    }
    if let Some(data) = limits.data.as_ref().filter(|_| plan.cgroup.is_none()) {
        page.line("data", &format!("{} for each process", in_units(data.value)), Some(&data.origin));
    }
    if let Some(nice) = &limits.nice {
        page.line("nice", &nice.value.to_string(), Some(&nice.origin));
    }
    if let Some(priority) = &limits.io_priority {
        page.line("disks", &priority.value.to_string(), Some(&priority.origin));
    }
    cgroup(page, plan);
    match &limits.timeout {
        Some(timeout) => page.line("time", &format!("{:?}", timeout.value), Some(&timeout.origin)),
        None => page.line("time", "no limit", None),
    }
}

/// The cgroup: by which rung of the ladder, and what is written there.
fn cgroup(page: &mut Page, plan: &Plan) {
    let Some(cgroup) = &plan.cgroup else {
        page.line("cgroup", "none of its own", None);
        return;
    };
    let place = match &cgroup.place {
        CgroupPlace::Keeper { path, .. } => format!("keeper: below {}", escape(path)),
        CgroupPlace::Scope { application, .. } => {
            let name = application.as_deref().unwrap_or("NAME");
            format!("scope: app-sbx-{}-ID.scope of systemd", escape(name))
        }
        CgroupPlace::Directory { path } => format!("directory: below {}", escape(path)),
    };
    let level = match cgroup.level {
        Level::Require => "required",
        Level::Prefer => "preferred",
        Level::Available | Level::Off => "where it can be had",
    };
    page.line("cgroup", &format!("{place}, {level}"), None);
    for knob in &cgroup.knobs {
        page.line("", &format!("            {} = {}", knob.file, escape(&knob.value)), Some(&knob.origin));
    }
    if cgroup.delegate {
        page.line("", "            delegated to the command, below these limits", None);
    }
}

fn seccomp(page: &mut Page, plan: &Plan) {
    let Some(filter) = &plan.seccomp else {
        page.line("seccomp", "none", None);
        return;
    };
    page.line("seccomp", "ordinary system calls only; unknown ones do not exist", None);
    for (what, words) in [("allowed", &filter.allow), ("denied", &filter.deny)] {
        for word in words {
            page.line("", &format!("            {what}: {}", escape(&word.value)), Some(&word.origin));
        }
    }
}

fn privileges(page: &mut Page, plan: &Plan) {
    let privileges = &plan.privileges;
    let on = |on: bool, yes: &'static str, no: &'static str| if on { yes } else { no };
    page.section("Privileges");
    let dropped = match privileges.capabilities.is_empty() {
        true => "none, in any set",
        false => "these, inside the user namespace; no_new_privs keeps the command from gaining more",
    };
    page.line("capabilities", on(privileges.drop_capabilities, dropped, "all are kept"), None);
    for kept in &privileges.capabilities {
        page.line("", &format!("            {}", kept.value), Some(&kept.origin));
    }
    page.line("no_new_privs", on(privileges.no_new_privs, "set", "not set"), None);
    page.line("PID 1", on(privileges.hide_init, "unreadable", "readable"), None);
    let keyring = match privileges.session_keyring {
        Level::Off => "the caller's",
        Level::Require => "an empty one",
        Level::Prefer | Level::Available => "an empty one, where the kernel has keyrings",
    };
    page.line("keyring", keyring, None);
    seccomp(page, plan);
    match plan.landlock_scope.first() {
        None => page.line("landlock", "nothing scoped", None),
        Some(first) => {
            let words: Vec<&str> = plan.landlock_scope.iter().map(|scope| scope.value.word()).collect();
            page.line("landlock", &format!("scoped: {}", words.join(", ")), Some(&first.origin));
        }
    }
    if let Some(abi) = &plan.landlock_files {
        page.line(
            "",
            &format!("            the filesystem once more, by ABI {}", abi.value),
            Some(&abi.origin),
        );
    }
    let terminal = match plan.terminal.value {
        TerminalMode::Pty => "one of its own where a descriptor from 0 to 2 is one",
        TerminalMode::Inherit => "the caller's, shared",
        TerminalMode::None => "the caller's by descriptors 0 to 2 alone",
    };
    page.line("terminal", terminal, Some(&plan.terminal.origin));
    let background = match plan.background.value {
        Background::Kill => "what the command leaves running is killed",
        Background::Wait => "what the command leaves running is waited for",
    };
    page.line("background", background, Some(&plan.background.origin));
    if plan.die_with_parent {
        page.line("parent", "the sandbox ends with the process that started sbx", None);
    }
    let kept: Vec<String> = [0, 1, 2].iter().chain(&plan.keep_fds).map(ToString::to_string).collect();
    page.line("descriptors", &kept.join(", "), None);
}
