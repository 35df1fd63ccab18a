//! The home directory inside, and who the user is there.

use crate::plan::given::{at, below, host, line, plan_on, refusal, root_host, variable};
use sbx::host::Host;
use sbx::plan::{BindSource, MountOp, Plan, PlanError};

fn passwd(plan: &Plan) -> String {
    match at(plan, "/etc/passwd").map(|mount| &mount.op) {
        Some(MountOp::File { content: sbx::plan::Content::Bytes(bytes), .. }) => {
            String::from_utf8_lossy(bytes).into_owned()
        }
        other => panic!("/etc/passwd is {other:?}"),
    }
}

#[test]
fn modes_say_what_the_home_is() {
    for (mode, wanted) in [
        ("ephemeral", "/home/ann private"),
        ("allow-list", "/home/ann private"),
        ("private", "/home/ann rw /home/ann/.local/share/sbx/home/p0"),
    ] {
        let plan = plan_on(&host(), &[&format!("[home]\nmode = {mode:?}")], &[]).expect(mode);
        assert_eq!(at(&plan, "/home/ann").map(line).as_deref(), Some(wanted), "{mode}");
    }
}

#[test]
fn a_kept_home_is_made_for_nobody_else() {
    let plan = plan_on(&host(), &["", "[home]\nmode = \"private\""], &[]).expect("a plan");
    let MountOp::Bind { source, create, optional, devices, .. } = &at(&plan, "/home/ann").expect("a home").op
    else {
        panic!("no bind")
    };
    assert_eq!(
        *source,
        BindSource::Path("/home/ann/.local/share/sbx/home/p0+p1".into()),
        "one for each choice of profiles"
    );
    assert_eq!((*create, *optional, *devices), (Some(0o700), false, false));
}

#[test]
fn the_home_is_where_it_is_outside() {
    for (home, uid, inside) in [
        ("/home/ann", "same", "/home/ann"),
        ("/data/homes/ann", "same", "/data/homes/ann"),
        ("/home/ann/", "same", "/home/ann"),
        ("/home/x/../ann", "same", "/home/ann"),
        ("/", "same", "/home/ann"),
        ("/", "root", "/home/root"),
        ("/home/ann", "root", "/home/ann"),
    ] {
        let host = Host { home: Some(home.into()), ..host() };
        let plan = plan_on(&host, &[&format!("[privileges]\nuid = {uid:?}")], &[]).expect(home);
        assert_eq!(variable(&plan, "HOME"), Some(inside.as_ref()), "{home} {uid}");
        assert!(at(&plan, inside).is_some(), "{home} {uid}");
        assert_eq!(plan.directory.value.0.to_str(), Some(inside), "{home} {uid}");
    }
}

#[test]
fn without_a_home_there_is_no_plan() {
    let nowhere = Host { home: None, real_homes: Vec::new(), data_home: None, ..host() };
    assert_eq!(refusal(&nowhere, &[], &[]), PlanError::NoHome);
    let no_data = Host { data_home: None, ..host() };
    assert_eq!(refusal(&no_data, &["[home]\nmode = \"private\""], &[]), PlanError::NoHome);
    assert!(plan_on(&no_data, &[], &[]).is_ok());
}

#[test]
fn the_user_has_a_name_and_ids_inside() {
    let odd = Host { uid: 65534, gid: 65534, user: "user".to_owned(), ..host() };
    for (host, uid, first, user, ids) in [
        (host(), "same", "ann:x:1000:1001:ann:/home/ann:/bin/sh", "ann", (1000, 1001)),
        (host(), "root", "root:x:0:0:root:/home/ann:/bin/sh", "root", (0, 0)),
        (root_host(), "same", "root:x:0:0:root:/root:/bin/sh", "root", (0, 0)),
        (root_host(), "root", "root:x:0:0:root:/root:/bin/sh", "root", (0, 0)),
        (odd, "same", "user:x:65534:65534:user:/home/ann:/bin/sh", "user", (65534, 65534)),
    ] {
        let plan = plan_on(&host, &[&format!("[privileges]\nuid = {uid:?}")], &[]).expect(first);
        let passwd = passwd(&plan);
        assert_eq!(passwd.lines().next(), Some(first));
        assert_eq!(passwd.lines().filter(|line| line.contains(":x:65534:")).count(), 1, "{passwd}");
        assert_eq!(variable(&plan, "USER"), Some(user.as_ref()));
        assert_eq!(variable(&plan, "LOGNAME"), Some(user.as_ref()));
        let identity = &plan.identity;
        assert_eq!((identity.uid, identity.gid), ids);
        assert_eq!((identity.outside_uid, identity.outside_gid), (host.uid, host.gid));
        let runtime = format!("/run/user/{}", ids.0);
        assert_eq!(variable(&plan, "XDG_RUNTIME_DIR"), Some(runtime.as_ref()));
        assert_eq!(below(&plan, &runtime), [format!("{runtime} dir")]);
    }
}

#[test]
fn parts_of_the_home_are_given_in_it() {
    let text = "[home]\nmode = \"allow-list\"\n[filesystem]\nread = [\"${HOME}/.gitconfig\"]\nwrite = [{ path = \"${HOME}/.cache/x\", optional = true }]";
    let plan = plan_on(&host(), &[text], &["--cwd", "rw"]).expect("a plan");
    let wanted =
        ["/home/ann private", "/home/ann/.cache/x rw?", "/home/ann/.gitconfig ro", "/home/ann/project rw"];
    assert_eq!(below(&plan, "/home/ann"), wanted);
}
