//! What need not be tried but only looked at.
#![forbid(unsafe_code)]

use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{getgid, getgroups, getuid};

use super::child::{self, Found, collect};
use super::facts::{Cgroups, Facts, Proxy, Step, Tried};
use super::{DoctorError, probe};
use crate::cause::Machine;
use crate::host::{self, find_command};

/// Groups whose members are root, or nearly so, by what they may open.
const POWERFUL: [&str; 8] = ["disk", "docker", "incus-admin", "kmem", "libvirt", "lxd", "podman", "shadow"];

/// Where programs lie that no `PATH` of an ordinary user may have.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Finds it all out.
///
/// # Errors
/// Not one child can be made to try things in, or something that must be looked at does not answer.
pub(super) fn facts() -> Result<Facts, DoctorError> {
    let home = std::env::var_os("HOME").filter(|home| Path::new(home).is_absolute());
    let home = home.and_then(|home| CString::new(home.into_vec()).ok());
    let mut tried = probe::attempt_all(home.as_deref()).map_err(DoctorError::NoProcess)?;
    // A call on a mount that hangs can't be interrupted, only ended together with its process.
    let in_child = child::run(None, &[Step::Look], &mut tried, |report| {
        report.attempt(Step::Look, || {
            drop(around());
            Ok(())
        });
    });
    in_child.map_err(DoctorError::NoProcess)?;
    if tried.get(&Step::Look) == Some(&Tried::Hung) {
        return Err(DoctorError::Hangs);
    }
    let mut facts = Facts { tried, ..around() };
    // A library may start programs by clone3.
    let may_start = facts.of(Step::Clone3) != Some(Tried::Killed);
    if let Some(proxy) = facts.dbus_proxy.as_mut().filter(|_| may_start) {
        proxy.version = version(&proxy.path);
    }
    Ok(facts)
}

/// What files and settings say.
fn around() -> Facts {
    let machine = Machine::look();
    let uid = getuid().as_raw();
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let path = std::env::var_os("PATH");
    let program = |name: &str| find_command(OsStr::new(name), path.as_deref(), None, true);
    let helper = |name: &str| find_command(OsStr::new(name), Some(OsStr::new(SYSTEM_PATH)), None, true);
    let fuse = host::FuseOverlayfs::look();
    Facts {
        tried: Found::new(),
        fuse_overlayfs: (fuse.program.is_some(), fuse.device.is_none()),
        apparmor_knows_userns: Path::new("/etc/apparmor.d/abi/4.0").exists(),
        program_is_writable: is_writable(&machine.program),
        cgroups: cgroups(uid, host::session_dir(uid).as_deref()),
        subordinate: subordinate(uid),
        has_newidmap: helper("newuidmap").is_some() && helper("newgidmap").is_some(),
        pasta: program("pasta"),
        dbus_proxy: program("xdg-dbus-proxy").map(|path| Proxy { path, version: None }),
        powerful_groups: powerful_groups(),
        has_runtime_dir: runtime_dir.is_some_and(|path| path.is_absolute() && path.is_dir()),
        machine,
    }
}

/// Whether somebody other than root may put another program in its place.
fn is_writable(program: &Path) -> bool {
    let open = |path: &Path| {
        // A sticky directory keeps what is another's.
        fs::metadata(path).is_ok_and(|found| {
            let sticky = found.is_dir() && found.mode() & 0o1000 != 0;
            found.uid() != 0 || (found.mode() & 0o022 != 0 && !sticky)
        })
    };
    program.ancestors().any(open)
}

fn cgroups(uid: u32, runtime_dir: Option<&Path>) -> Cgroups {
    let found = host::Cgroups::look(uid, runtime_dir, &host::WantedCgroups::default());
    Cgroups { obstacle: found.obstacle(), controllers: found.controllers().to_vec() }
}

/// How many subordinate uids and gids the user has.
fn subordinate(uid: u32) -> (u64, u64) {
    let ids = host::SubordinateIds::look(uid).unwrap_or_default();
    let sum = |ranges: &host::IdRanges| ranges.iter().map(|(_, count)| u64::from(*count)).sum();
    (sum(&ids.uids), sum(&ids.gids))
}

/// What a program says of its version; it may take as long as a child of the doctor's.
fn version(path: &Path) -> Option<String> {
    let mut command = Command::new(path);
    command.arg("--version").env_clear().stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().ok()?;
    let text = child.stdout.take().map(|pipe| collect(&pipe).0).unwrap_or_default();
    // It has said what it had to say, or is too slow.
    let _ = child.kill();
    let _ = child.wait();
    let text = OsString::from_vec(text).to_string_lossy().into_owned();
    text.split_whitespace()
        .find(|word| word.starts_with(|letter: char| letter.is_ascii_digit()))
        .map(str::to_owned)
}

/// Those of the process, not those of the user database: only they count.
fn powerful_groups() -> Vec<String> {
    let mut own = getgroups().unwrap_or_default();
    own.push(getgid());
    let groups = fs::read("/etc/group").unwrap_or_default();
    let groups = OsStr::from_bytes(&groups).to_string_lossy().into_owned();
    let line = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| POWERFUL.contains(name))?;
        let number: u32 = fields.nth(1)?.parse().ok()?;
        own.iter().any(|gid| gid.as_raw() == number).then(|| name.to_owned())
    };
    let mut found: Vec<String> = groups.lines().filter_map(line).collect();
    found.sort();
    found.dedup();
    found
}
