//! Who the payload is, and what it keeps of root's powers.

use crate::plan::given::{host, plan, plan_on, refusal, root_host};
use caps::Capability;
use sbx::diag::Diagnose as _;
use sbx::host::{Host, Image, SubordinateIds};
use sbx::image::{ImageUser, RunDefaults};
use sbx::plan::{IdRange, MountOp, PlanError, RunsAs};

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

fn with_image(user: ImageUser) -> Host {
    let name = "app:latest".to_owned();
    Host {
        image: Some(Image { name, user, layers: vec!["/l".into()], defaults: RunDefaults::default() }),
        ..with_ids()
    }
}

/// What is made for the user is given away once all of it is there; what others share is not.
#[test]
fn an_images_user_owns_what_is_made_for_it() {
    let user = ImageUser { name: "app".to_owned(), uid: 1000, gid: 1001, groups: vec![5] };
    let text = format!(
        "{SUBORDINATE}\nprivileges.capabilities = [\"CAP_SYS_CHROOT\"]\nfilesystem.root = \"image:app\""
    );
    let made = plan_on(&with_image(user), &[&text], &["--tmpfs", "/t", "true"]).expect("a plan");
    let wanted = RunsAs { uid: 1000, gid: 1001, groups: vec![5] };
    assert_eq!((made.identity.uid, made.identity.runs_as), (0, Some(wanted)));
    assert!(made.privileges.capabilities.is_empty() && !made.seccomp.expect("a filter").chroot);
    let first = made.mounts.iter().position(|mount| matches!(mount.op, MountOp::Own { .. })).expect("owners");
    let (before, given) = made.mounts.split_at(first);
    assert!(given.iter().all(|mount| mount.op == MountOp::Own { uid: 1000, gid: 1001 }));
    let given: Vec<_> = given.iter().map(|mount| mount.dest.to_str().expect("text")).collect();
    assert_eq!(given, ["/home/ann", "/run/user/1000", "/t"]);
    assert!(given.iter().all(|dest| before.iter().any(|mount| mount.dest.as_os_str() == *dest)));
    let user = |wanted: &str| made.environment.iter().any(|set| set.name == "USER" && set.value == wanted);
    assert!(user("app"));
}

#[test]
fn root_of_an_image_is_the_sandboxs() {
    let text = format!("{SUBORDINATE}\nfilesystem.root = \"image:app\"");
    let made = plan_on(&with_image(ImageUser::default()), &[&text], &["true"]).expect("a plan");
    assert_eq!(made.identity.runs_as, None);
    assert!(!made.mounts.iter().any(|mount| matches!(mount.op, MountOp::Own { .. })));
}
