//! Descriptors that go into a sandbox: none may lead out of it.
#![forbid(unsafe_code)]

use std::os::fd::RawFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{SFlag, fstat};

use super::ExecError;
use crate::plan::Plan;
use crate::sys::process;

/// Standard descriptors that would lead out, and descriptors to keep that aren't there.
pub(super) fn check_descriptors(plan: &Plan) -> Result<(), ExecError> {
    check_standard_descriptors()?;
    plan.keep_fds.iter().try_for_each(|fd| check_descriptor(*fd))
}

/// Standard descriptors that would lead out of a sandbox.
pub(super) fn check_standard_descriptors() -> Result<(), ExecError> {
    (0..3).try_for_each(check_descriptor)
}

fn check_descriptor(fd: RawFd) -> Result<(), ExecError> {
    let refuse = |why: &str| Err(ExecError::Descriptor { fd, why: why.to_owned() });
    let open = process::inherited(fd).map_err(|errno| ExecError::descriptor(fd, errno))?;
    let status = fstat(open).map_err(|errno| ExecError::descriptor(fd, errno))?;
    if SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR {
        return refuse("it is a directory, through which everything beside it could be opened");
    }
    let flags = fcntl(open, FcntlArg::F_GETFL).map(OFlag::from_bits_truncate);
    if flags.is_ok_and(|flags| flags.contains(OFlag::O_PATH)) {
        return refuse("it is an O_PATH descriptor, which can be reopened with more rights");
    }
    Ok(())
}
