//! Who the payload is, and what it keeps of root's powers.

use crate::plan::given::{host, plan, plan_on, refusal, root_host};
use caps::Capability;
use sbx::diag::Diagnose as _;
use sbx::host::{Host, SubordinateIds};
use sbx::plan::{IdRange, PlanError};

const SUBORDINATE: &str = "privileges.uid = \"subordinate\"\nfilesystem.cwd = \"none\"";

fn with_ids() -> Host {
    let subordinate =
        SubordinateIds { uids: vec![(100_000, 65_536), (500_000, 10)], gids: vec![(200_000, 65_536)] };
    Host { subordinate, ..host() }
}

#[test]
fn ids_are_the_callers_and_those_of_root() {
    let same = plan(&[], &[]).identity;
    assert_eq!((same.uid, same.gid, &same.subordinate), (same.outside_uid, same.outside_gid, &None));
    let root = plan(&["privileges.uid = \"root\""], &[]).identity;
    assert_eq!((root.uid, root.gid, root.outside_uid, &root.subordinate), (0, 0, same.uid, &None));
}

#[test]
fn subordinate_ids_follow_the_callers() {
    let identity = plan_on(&with_ids(), &[SUBORDINATE], &[]).expect("a plan").identity;
    assert_eq!((identity.uid, identity.gid), (0, 0));
    let further = identity.subordinate.expect("further ids");
    let range = |inside, outside, count| IdRange { inside, outside, count };
    assert_eq!(further.uids, [range(1, 100_000, 65_536), range(65_537, 500_000, 10)]);
    assert_eq!(further.gids, [range(1, 200_000, 65_536)]);
}

#[test]
fn ranges_end_where_ids_do() {
    let many = SubordinateIds { uids: vec![(1, 3_000_000_000), (5, 2_000_000_000)], gids: vec![(1, 1)] };
    let host = Host { subordinate: many, ..host() };
    let further =
        plan_on(&host, &[SUBORDINATE], &[]).expect("a plan").identity.subordinate.expect("further ids");
    assert_eq!(further.uids.len(), 1);
}

#[test]
fn without_ranges_there_is_no_plan() {
    for (uids, gids, file) in [
        (vec![], vec![(1, 1)], "`ann` has none in /etc/subuid"),
        (vec![(1, 1)], vec![], "`ann` has none in /etc/subgid"),
        (vec![], vec![], "has none in /etc/subuid and in /etc/subgid"),
    ] {
        let error =
            refusal(&Host { subordinate: SubordinateIds { uids, gids }, ..host() }, &[SUBORDINATE], &[]);
        assert!(error.to_string().contains(file), "{error}");
        assert!(
            error.hint().is_some_and(|hint| hint.contains("usermod --add-subuids"))
                && error.location().is_some()
        );
    }
}

#[test]
fn capabilities_that_undo_walls_are_refused() {
    const KEPT: [Capability; 13] = [
        Capability::CAP_CHOWN,
        Capability::CAP_DAC_OVERRIDE,
        Capability::CAP_FOWNER,
        Capability::CAP_FSETID,
        Capability::CAP_KILL,
        Capability::CAP_SETGID,
        Capability::CAP_SETUID,
        Capability::CAP_SETPCAP,
        Capability::CAP_NET_BIND_SERVICE,
        Capability::CAP_NET_RAW,
        Capability::CAP_SYS_CHROOT,
        Capability::CAP_AUDIT_WRITE,
        Capability::CAP_SETFCAP,
    ];
    for capability in caps::all() {
        let text = format!("{SUBORDINATE}\nprivileges.capabilities = [\"{capability}\"]");
        match plan_on(&with_ids(), &[&text], &[]) {
            Ok(planned) => {
                assert!(KEPT.contains(&capability), "{capability}");
                assert_eq!(planned.privileges.kept(), capability.bitmask());
                assert!(planned.privileges.drop_capabilities && planned.privileges.no_new_privs);
            }
            Err(error) => {
                assert!(!KEPT.contains(&capability), "{capability}: {error}");
                assert!(error.to_string().starts_with(&format!("cannot keep {capability}: it undoes walls")));
                assert!(error.hint().is_some() && error.location().is_some());
            }
        }
    }
}

#[test]
fn capabilities_go_with_uid_0_alone() {
    let error = refusal(&host(), &["privileges.capabilities = [\"CAP_CHOWN\"]"], &[]);
    assert!(error.to_string().contains("for uid 0 inside alone"), "{error}");
    let error = refusal(&root_host(), &["privileges.capabilities = [\"CAP_CHOWN\"]"], &[]);
    assert!(matches!(error, PlanError::Conflict { .. }), "{error}");
    plan(&["privileges.uid = \"root\"\nprivileges.capabilities = [\"CAP_CHOWN\"]"], &[]);
}

/// What is marked would be marked for the host's other users, too.
#[test]
fn who_marks_files_writes_nothing_of_the_hosts() {
    let root = "filesystem.root = \"/srv/root\"\nfilesystem.cwd = \"none\"\nprivileges.uid = \"root\"";
    for capability in ["CAP_FSETID", "CAP_SETFCAP"] {
        let text = format!("{root}\nprivileges.capabilities = [\"CAP_CHOWN\", \"{capability}\"]");
        for fine in [
            &[][..],
            &["filesystem.writable = \"layer:x\""],
            &["home.mode = \"private\""],
            &["filesystem.writable = \"none\""],
        ] {
            assert!(plan_on(&host(), &[&[text.as_str()], fine].concat(), &[]).is_ok(), "{fine:?}");
        }
        for (open, dest) in [
            ("filesystem.write = [\"/data\"]", "/data"),
            ("filesystem.cwd = \"rw\"", "/home/ann/project"),
            ("filesystem.writable = \"/up\"", "/"),
        ] {
            let error = refusal(&host(), &[&text, open], &[]).to_string();
            assert_eq!(
                error,
                format!(
                    "cannot keep {capability} and let the sandbox write in `{dest}`: others could run what it leaves there with \
                     an owner's ids"
                )
            );
        }
    }
    let text = format!("{root}\nprivileges.capabilities = [\"CAP_CHOWN\"]\nfilesystem.write = [\"/data\"]");
    plan(&[&text], &[]);
}

#[test]
fn the_filter_knows_what_is_kept() {
    let of = |capabilities: &str| {
        let text = format!("{SUBORDINATE}\nprivileges.capabilities = [{capabilities}]");
        let filter = plan_on(&with_ids(), &[&text], &[]).expect("a plan").seccomp.expect("a filter");
        (filter.chroot, filter.set_id)
    };
    assert_eq!(of(""), (false, false));
    assert_eq!(of("\"CAP_SYS_CHROOT\""), (true, false));
    assert_eq!(of("\"CAP_FSETID\""), (false, true));
    assert_eq!(of("\"CAP_SETFCAP\", \"CAP_FOWNER\""), (false, false));
}
