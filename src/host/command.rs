//! Where a command lies on the host: for `match`, and for messages.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The first executable that the command names on this host, by `PATH` when it holds no `/`. With
/// `trusted_only`, directories of `PATH` that are relative, lie below `cwd`, or that everybody can write do not
/// count: what lies there must not choose a profile. From `/usr` or the root directory, the system's own still do.
pub fn find_command(
    command: &OsStr,
    path: Option<&OsStr>,
    cwd: Option<&Path>,
    trusted_only: bool,
) -> Option<PathBuf> {
    if command.as_bytes().contains(&b'/') {
        let path = Path::new(command);
        return Some(path.to_owned()).filter(|path| is_executable(path));
    }
    let root = nix::unistd::geteuid().is_root();
    let trusted = |directory: &Path| {
        let Ok(metadata) = fs::metadata(directory) else { return false };
        // Nobody but root has put anything there; and no project of root's is all of the machine.
        let systems =
            metadata.uid() == 0 && metadata.mode() & 0o022 == 0 && (!root || cwd == Some(Path::new("/")));
        let in_project = cwd.is_some_and(|cwd| directory.starts_with(cwd));
        directory.is_absolute() && metadata.mode() & 0o002 == 0 && (systems || !in_project)
    };
    std::env::split_paths(path?)
        .filter(|directory| !trusted_only || trusted(directory))
        .map(|directory| directory.join(command))
        .find(|candidate| is_executable(candidate))
}

/// Whether it is a file with an execute bit.
pub fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o111 != 0)
}

/// `e_machine` of this machine's programs (elf(5)).
const NATIVE: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };

/// Bytes of an ELF file that say what it is for.
pub const ELF_HEADER: usize = 20;

/// Whether these first bytes of a file are an ELF program's for another machine, 32-bit ones among them.
pub fn is_foreign_elf(header: &[u8; ELF_HEADER]) -> bool {
    header.starts_with(b"\x7fELF") && (header[4] != 2 || machine(header) != NATIVE)
}

fn machine(header: &[u8; ELF_HEADER]) -> u16 {
    let bytes = [header[18], header[19]];
    if header[5] == 1 { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) }
}

/// What an ELF file was built for, when that is not this machine: `AArch64`, `32-bit x86`. Nothing for a file that is
/// no ELF, or one for this machine.
pub fn elf_machine(path: &Path) -> Option<String> {
    let mut header = [0; ELF_HEADER];
    fs::File::open(path).ok()?.read_exact(&mut header).ok()?;
    if !is_foreign_elf(&header) {
        return None;
    }
    let name = match machine(&header) {
        62 if header[4] == 1 => "x32",
        62 => "x86-64",
        3 => "32-bit x86",
        40 => "32-bit Arm",
        183 => "AArch64",
        243 => "RISC-V",
        21 => "64-bit PowerPC",
        22 => "S/390",
        other => return Some(format!("machine number {other}")),
    };
    Some(name.to_owned())
}
