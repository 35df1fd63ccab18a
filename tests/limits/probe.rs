//! What this program does inside a sandbox: one thing that a limit or a wall should hold.

use crate::common::User;
use std::ffi::CString;
use std::fs;
use std::io::Write as _;
use std::process::{Command, ExitCode};

/// The first argument of such a run.
pub(crate) const WORD: &str = "--probe";

/// To be called first in `main`; nothing in the test program itself. Prints `through`, or why not.
pub(crate) fn answer() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != WORD {
        return None;
    }
    let arguments: Vec<String> = arguments.collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let came = match words[..] {
        ["move", group] => write_own_pid(group),
        ["born", group] => born_in(group),
        ["make", group, count] => make_cgroups(group, count),
        ["mount", at] => mount_cgroups(at),
        ["end", socket] => end(socket),
        _ => Err(format!("no probe {words:?}")),
    };
    let said = came.err().unwrap_or_else(|| "through".to_owned());
    let _ = writeln!(std::io::stdout(), "{said}");
    Some(ExitCode::SUCCESS)
}

/// This program in a sandbox of `sbx`, or with an edited plan; options come first.
pub(crate) fn command(user: &User, mut sbx: Command, options: &[&str], words: &[&str]) -> Command {
    let program = user.edited_path().to_string_lossy().into_owned();
    sbx.args(["--ro", &program]).args(options).arg(program).arg(WORD).args(words);
    sbx
}

/// Moves itself into another cgroup.
fn write_own_pid(group: &str) -> Result<(), String> {
    let before = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    fs::write(format!("{group}/cgroup.procs"), "0").map_err(|error| error.to_string())?;
    let after = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    if before == after { Err(format!("still in {after}")) } else { Ok(()) }
}

/// Has a child born in another cgroup (clone3(2), `CLONE_INTO_CGROUP`).
fn born_in(group: &str) -> Result<(), String> {
    use sbx::sys::process::{Clone3, clone3, exit_now, wait};
    use std::os::fd::AsRawFd as _;
    let dir = fs::File::open(group).map_err(|error| error.to_string())?;
    let request = Clone3 { namespaces: 0, cgroup: Some(dir.as_raw_fd()) };
    match clone3(request).map_err(|errno| errno.to_string())? {
        None => exit_now(0),
        Some((pid, _)) => wait(pid).map(drop).map_err(|errno| errno.to_string()),
    }
}

/// Makes as many cgroups as it was told to.
fn make_cgroups(group: &str, count: &str) -> Result<(), String> {
    let count: u32 = count.parse().map_err(|_| "no number".to_owned())?;
    for number in 0..count {
        fs::create_dir(format!("{group}/probe-{number}")).map_err(|error| format!("{number}: {error}"))?;
    }
    Ok(())
}

/// Mounts the cgroups that there are, if need be in namespaces of its own.
fn mount_cgroups(at: &str) -> Result<(), String> {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    let flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWCGROUP;
    unshare(flags).map_err(|errno| format!("unshare: {errno}"))?;
    let nothing: Option<&str> = None;
    mount(Some("none"), at, Some("cgroup2"), MsFlags::empty(), nothing).map_err(|errno| errno.to_string())?;
    let path = CString::new(format!("{at}/cgroup.procs")).map_err(|error| error.to_string())?;
    nix::unistd::access(path.as_c_str(), nix::unistd::AccessFlags::F_OK).map_err(|errno| errno.to_string())
}

/// Tells the sbx that listens there to end its sandbox, and waits for its answer, which is that it hangs up when it has ended.
fn end(path: &str) -> Result<(), String> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    use sbx::registry::request::{Request, send};
    use std::os::fd::AsRawFd as _;
    let said = |what: &'static str| move |errno: nix::errno::Errno| format!("{what}: {errno}");
    let socket =
        socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::empty(), None).map_err(said("socket"))?;
    let address = UnixAddr::new(path).map_err(said("address"))?;
    connect(socket.as_raw_fd(), &address).map_err(said("cannot connect"))?;
    let start = std::time::Instant::now();
    send(&socket, &Request::Stop { grace: 5000 }, &[]).map_err(said("not heard"))?;
    let mut byte = [0];
    let _ = nix::unistd::read(&socket, &mut byte);
    // Who is not heard is hung up on at once, and the socket still listens.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let again = nix::sys::socket::socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::empty(), None);
    let listens = again.is_ok_and(|again| connect(again.as_raw_fd(), &address).is_ok());
    if listens { Err(format!("not heard, after {:?}", start.elapsed())) } else { Ok(()) }
}
