//! The policy once more, by number, written down apart from the compiler's lists.

use crate::machine::{Call, X86_64};
use sbx::seccomp::{NestedCalls, Verdict};

const ALLOW: Verdict = Verdict::Allow;
const KILL: Verdict = Verdict::Kill;
const EPERM: Verdict = Verdict::Errno(1);
const ENOSYS: Verdict = Verdict::Errno(38);
const EPROTONOSUPPORT: Verdict = Verdict::Errno(93);
const EAFNOSUPPORT: Verdict = Verdict::Errno(97);

/// The calls whose arguments decide without nested namespaces.
pub(crate) const CHECKED: [u32; 16] = [2, 16, 41, 53, 56, 85, 90, 91, 133, 135, 157, 257, 259, 268, 302, 452];

pub(crate) fn decide(nested: NestedCalls, call: &Call) -> Verdict {
    if call.arch != X86_64 {
        return KILL;
    }
    match call.nr {
        u32::MAX => return ALLOW,
        nr if nr & (1 << 30) != 0 => return KILL,
        _ => {}
    }
    if nested != NestedCalls::None && matches!(call.nr, 56 | 161 | 272 | 435) {
        return ALLOW;
    }
    if nested == NestedCalls::Full && full(call.nr) {
        return ALLOW;
    }
    none(call)
}

fn full(nr: u32) -> bool {
    match nr {
        // pivot_root, mount, umount2, sethostname, setdomainname, setns
        155 | 165 | 166 | 170 | 171 | 308 => true,
        // open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr, open_tree_attr
        428..=433 | 442 | 467 => true,
        // statmount, listmount, listns
        457 | 458 | 470 => true,
        // chmod, fchmod, mknod, mknodat, fchmodat, fchmodat2
        90 | 91 | 133 | 259 | 268 | 452 => true,
        // open, creat, openat, openat2
        2 | 85 | 257 | 437 => true,
        _ => false,
    }
}

fn none(call: &Call) -> Verdict {
    let arg = |index: usize| call.args[index] as u32;
    let unless = |bad: bool| if bad { EPERM } else { ALLOW };
    match call.nr {
        // ioctl: TIOCSTI, TIOCLINUX, TIOCCONS, TIOCSETD
        16 => unless([0x5412, 0x541c, 0x541d, 0x5423].contains(&arg(1))),
        // socket, socketpair
        41 | 53 => match (arg(0), arg(2)) {
            (1 | 2 | 10, _) | (16, 0) => ALLOW,
            (16, _) => EPROTONOSUPPORT,
            _ => EAFNOSUPPORT,
        },
        // clone
        56 => unless((25..=30).any(|bit| arg(0) >> bit & 1 == 1) || arg(0) >> 17 & 1 == 1),
        // open, openat: O_CREAT, __O_TMPFILE
        2 => unless(arg(1) & 0o20_000_100 > 0 && arg(2) & 0o6000 > 0),
        257 => unless(arg(2) & 0o20_000_100 > 0 && arg(3) & 0o6000 > 0),
        // creat, chmod, fchmod; fchmodat, fchmodat2
        85 | 90 | 91 => unless(arg(1) & 0o6000 > 0),
        268 | 452 => unless(arg(2) & 0o6000 > 0),
        // mknod, mknodat
        133 => node(arg(1)),
        259 => node(arg(2)),
        // personality
        135 => unless(!matches!(arg(0), 0 | 8 | 131_072 | 131_080 | u32::MAX)),
        // prctl: PR_SET_MM
        157 => unless(arg(0) == 35),
        // prlimit64
        302 => unless(arg(0) != 0),
        nr => by_number(nr),
    }
}

fn node(mode: u32) -> Verdict {
    let plain = matches!(mode >> 12 & 15, 0 | 1 | 8 | 12);
    if plain && mode & 0o4000 == 0 && mode & 0o2000 == 0 { ALLOW } else { EPERM }
}

fn by_number(nr: u32) -> Verdict {
    match nr {
        // sysfs, _sysctl, getpmsg to security, vserver, mbind to get_mempolicy
        139 | 156 | 181..=185 | 236..=239 => ENOSYS,
        // migrate_pages, move_pages; a gap; io_uring_*; open_tree to fspick; clone3
        256 | 279 | 337..=423 | 425..=427 | 428..=433 | 435 => ENOSYS,
        // openat2, mount_setattr, process_mrelease, set_mempolicy_home_node, statmount to lsm_list_modules, open_tree_attr,
        // listns, the future
        437 | 442 | 448 | 450 | 457..=461 | 467 | 470 | 472.. => ENOSYS,
        // ptrace, syslog, uselib, ustat, vhangup, modify_ldt, pivot_root, adjtimex, chroot
        101 | 103 | 134 | 136 | 153 | 154 | 155 | 159 | 161 => EPERM,
        // acct, settimeofday, mount, umount2, swapon, swapoff, reboot, set*name, iopl, ioperm, modules, quotactl,
        // nfsservctl
        163..=180 => EPERM,
        // lookup_dcookie, clock_settime, kexec_load, keys, unshare, perf_event_open, fanotify_*
        212 | 227 | 246 | 248..=250 | 272 | 298 | 300 | 301 => EPERM,
        // open_by_handle_at, clock_adjtime, setns, process_vm_*, kcmp, finit_module, kexec_file_load, bpf, userfaultfd
        304 | 305 | 308 | 310..=313 | 320 | 321 | 323 => EPERM,
        // pidfd_getfd, quotactl_fd
        438 | 443 => EPERM,
        _ => ALLOW,
    }
}
