//! The filter of system calls: which calls a payload may make, and the program that tells the kernel.
//!
//! [`Policy`] says what differs from run to run. [`compile`] turns it into a program without touching the machine:
//!
//! ```text
//! another architecture, x32 ──► the process is killed
//! number ──► a tree of ranges ──► allowed, an errno, or a look at the arguments
//! ```
//!
//! An allowed call that has no arguments to look at is decided by its number alone, so the kernel keeps it in a
//! bitmap and doesn't run the program for it at all (Linux 5.11).
#![forbid(unsafe_code)]

mod groups;
mod policy;
mod table;
mod tree;

use seccompiler::sock_filter;
use serde::Serialize;

use crate::diag::{nearest, quote};
use table::MACHINE;

/// What a payload may call, beside the rules that are always there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Policy {
    /// Calls and groups that are let through where the rules refuse them.
    pub allow: Vec<String>,
    /// Calls and groups that answer `EPERM`; those that are absent without this policy stay absent (`ENOSYS`).
    pub deny: Vec<String>,
    /// What the payload may do with namespaces of its own.
    pub nested: NestedCalls,
    /// `chroot` passes.
    pub chroot: bool,
    /// Set-id modes pass: the kernel itself is left to judge who may set them.
    pub set_id: bool,
}

/// The calls that make namespaces and mounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NestedCalls {
    /// None of them.
    #[default]
    None,
    /// Namespaces and `chroot`, as a browser's own sandbox needs; no mounts.
    Browser,
    /// Namespaces, mounts, and what is needed to set up a container in them.
    Full,
}

/// What the filter answers to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The kernel carries it out.
    Allow,
    /// It fails with this error.
    Errno(i32),
    /// The whole process is killed by `SIGSYS`.
    Kill,
}

/// Whether `word` may stand in a policy's lists: a group with systemd's spelling, or the name of a system call. The
/// error is a sentence for a person.
pub fn check_word(word: &str) -> Result<(), String> {
    policy::calls(word).map(|_| ())
}

/// The program for this machine's architecture.
///
/// Where several entries are about one call, its own name weighs more than a group, and among equals `deny` weighs
/// more than `allow`. An error names the word that is wrong.
pub fn compile(policy: &Policy) -> Result<Vec<sock_filter>, String> {
    tree::assemble(&policy::answers(policy)?)
}

/// Every system call that the filter knows by name, with its number, sorted by name.
pub fn names() -> impl Iterator<Item = (&'static str, u32)> {
    MACHINE.calls.iter().filter_map(|(name, _)| Some((*name, MACHINE.number(name)?)))
}

/// Every group with the calls in it, those of nested groups included.
pub fn groups() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    groups::names().filter_map(|name| Some((name, groups::members(name)?)))
}

/// The sentence about a word that is no group and no call.
fn unknown(word: &str) -> String {
    let call = |(name, _)| name;
    let (what, near) = match word.starts_with('@') {
        true => ("group of system calls", nearest(word, groups::names())),
        false => ("system call", nearest(word, names().map(call))),
    };
    match near {
        Some(near) => format!("{} is no {what}; the nearest is {}", quote(word), quote(near)),
        None => format!("{} is no {what}", quote(word)),
    }
}
