//! Between `clone3` and `execve` nothing allocates: this program's allocator ends every child that tries.
#![allow(unsafe_code, reason = "an allocator can't be written without")]

mod common;

use common::edited::{self, Edit};
use common::{User, Verdict, case, output};
use nix::unistd::ForkResult;
use sbx::plan::{Access, BindSource, Content, Mount, MountOp, OverlayUpper, Plan};
use sbx::profile::Origin;
use std::alloc::{GlobalAlloc, Layout, System};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicI32, Ordering};

/// The system's allocator, for the process that armed it and no other.
struct OneProcess;

#[global_allocator]
static ALLOCATOR: OneProcess = OneProcess;

/// The only process that may allocate; 0 for all.
static ARMED: AtomicI32 = AtomicI32::new(0);

const NOTE: &[u8] = b"a child allocates\n";

/// The exit status of a child that allocates.
const CAUGHT: i32 = 99;

fn check() {
    let armed = ARMED.load(Ordering::Relaxed);
    // SAFETY: getpid has no preconditions; it asks the kernel each time.
    if armed != 0 && armed != unsafe { libc::getpid() } {
        // SAFETY: NOTE is live and of that length; _exit has no preconditions.
        unsafe {
            libc::write(2, NOTE.as_ptr().cast(), NOTE.len());
            libc::_exit(CAUGHT);
        }
    }
}

// SAFETY: every call goes to System unchanged, whose contract is the same.
unsafe impl GlobalAlloc for OneProcess {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check();
        // SAFETY: the caller keeps this function's contract, which is System's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        check();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn arm() {
    ARMED.store(nix::unistd::getpid().as_raw(), Ordering::Relaxed);
}

const EDITS: &[Edit] = &[
    ("everything", everything),
    ("fails", |plan| add(plan, "/e/d/missing", MountOp::Proc)),
    ("not-found", |plan| plan.candidates = vec!["/nowhere/a".into(), "/nowhere/b".into()]),
];

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|word| word == "--allocate") {
        return allocate_in_a_child();
    }
    if let Some(code) = edited::answer(EDITS, arm) {
        return code;
    }
    common::run(vec![
        case!(a_child_that_allocates_is_caught),
        case!(a_run_does_not_allocate_inside),
        case!(a_refusal_does_not_allocate_inside),
    ])
}

/// The control: a child that does allocate.
fn allocate_in_a_child() -> ExitCode {
    arm();
    // SAFETY: this process has one thread, so the child may do anything.
    match unsafe { nix::unistd::fork() } {
        Ok(ForkResult::Child) => {
            std::hint::black_box(vec![1_u8; 100]);
            // SAFETY: _exit has no preconditions.
            unsafe { libc::_exit(0) }
        }
        Ok(ForkResult::Parent { child }) => match nix::sys::wait::waitpid(child, None) {
            Ok(nix::sys::wait::WaitStatus::Exited(_, CAUGHT)) => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        },
        Err(_) => ExitCode::FAILURE,
    }
}

fn a_child_that_allocates_is_caught(user: &User) -> Verdict {
    let out = output(user.command(user.edited_path()).arg("--allocate"))?;
    out.exits(0)?.stderr_has("a child allocates")?;
    Ok(())
}

fn add(plan: &mut Plan, dest: impl Into<PathBuf>, op: MountOp) {
    plan.mounts.push(Mount { dest: dest.into(), op, origin: Origin::Default });
}

fn bind(source: impl Into<PathBuf>, access: Access) -> MountOp {
    let source = BindSource::Path(source.into());
    MountOp::Bind { source, access, devices: false, optional: false, create: None }
}

/// Every operation, three hundred binds, and destinations behind links.
fn everything(plan: &mut Plan) {
    let here = std::env::current_dir().unwrap_or_default();
    let dir = here.ancestors().nth(2).unwrap_or(Path::new("/nonexistent")).to_owned();
    add(plan, "/e/d", bind(dir.join("d"), Access::Writable));
    for number in 0..300 {
        add(plan, format!("/e/{}/{number}", number % 7), bind(dir.join("link/sub"), Access::ReadOnly));
    }
    let layer = |name: &str| BindSource::Path(dir.join(name));
    let uppers = [
        OverlayUpper::None,
        OverlayUpper::Tmpfs { size: 1 << 20, inodes: 50, otherwise: None },
        OverlayUpper::Directory { upper: dir.join("upper"), work: dir.join("work") },
    ];
    for (number, upper) in uppers.into_iter().enumerate() {
        let lower = vec![layer("link/sub"), layer("two"), layer("three")];
        add(plan, format!("/e/overlay{number}"), MountOp::Overlay { lower, upper });
    }
    let content = || Content::Bytes(b"bytes\n".to_vec());
    let operations = [
        ("/e/tmpfs", MountOp::Tmpfs { size: 1 << 20, inodes: 9, mode: 0o755, access: Access::Writable }),
        ("/e/proc", MountOp::Proc),
        ("/e/pts", MountOp::Devpts),
        ("/e/mq", MountOp::Mqueue),
        ("/e/dir", MountOp::Dir { mode: 0o711 }),
        ("/e/private", MountOp::Private { mode: 0o711 }),
        ("/e/link", MountOp::Symlink { target: "../e/second".into() }),
        ("/e/second", MountOp::Symlink { target: "/e/dir".into() }),
        ("/e/second", MountOp::Symlink { target: "/e/dir".into() }),
        ("/e/link/deep/bind", bind(dir.join("d/sub"), Access::ReadOnly)),
        ("/e/link/file", MountOp::File { content: content(), mode: 0o600 }),
        ("/e/link/copy", MountOp::Copy { source: dir.join("d/file"), mode: 0o600 }),
        ("/e/link/file", MountOp::Chmod { mode: 0o640 }),
        ("/e/d/file", MountOp::Mask),
        ("/e/d/nothing", MountOp::Mask),
        ("/e/d/sub", MountOp::ReadOnly),
        ("/e/null", MountOp::Device { source: "/dev/null".into(), major: 1, minor: 3 }),
        ("/e/data", MountOp::Data { content: content(), mode: 0o600, access: Access::Writable }),
    ];
    for (dest, op) in operations {
        add(plan, dest, op);
    }
    plan.limits.open_files = Some(sbx::profile::Setting::default_value(500));
}

fn a_run_does_not_allocate_inside(user: &User) -> Verdict {
    user.put("d/file", "file\n")?;
    user.put("d/sub/file", "file\n")?;
    for dir in ["upper", "work", "two", "three"] {
        user.mkdir(dir)?;
    }
    std::os::unix::fs::symlink("d", user.dir().join("link"))?;
    for file_rules in ["landlock.files=false", "landlock.files=true"] {
        runs_with(user, file_rules)?;
    }
    Ok(())
}

fn runs_with(user: &User, file_rules: &str) -> Verdict {
    let mut command = user.edited("everything");
    command.args([
        "--set",
        file_rules,
        "--set",
        "namespaces.time={ boottime = \"1h\" }",
        "--set",
        "privileges.uid=root",
        "--hostname",
        "x",
    ]);
    let script =
        "cat /e/6/293/file /e/dir/deep/bind/file /e/dir/copy /e/data; stat -c %a /e/dir/file; exit 3";
    let out = output(command.args(["sh", "-c", script]))?;
    out.exits(3)?.stderr_is("")?.stdout_is("file\nfile\nfile\nbytes\n640\n")?;
    Ok(())
}

fn a_refusal_does_not_allocate_inside(user: &User) -> Verdict {
    let value = format!("{}:/e/d", user.mkdir("d")?.display());
    let mut command = user.edited("fails");
    let out = output(command.args(["--rw", &value, "true"]))?;
    out.exits(125)?.stderr_lacks("a child allocates")?.stderr_has("`/e/d/missing`")?;
    output(user.edited("not-found").arg("true"))?.exits(127)?.stderr_lacks("a child allocates")?;
    Ok(())
}
