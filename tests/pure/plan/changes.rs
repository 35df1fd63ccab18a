//! Copy-on-write over real directories, as data.

use crate::plan::given::{host, plan, refusal};
use sbx::host::{Host, WorkingDirectory};
use sbx::plan::{BindSource, ChangesLayer, Mount, MountOp, OverlayUpper, PlanError};
use std::path::Path;

#[test]
fn overlays_keep_changes_in_layers_of_their_own() {
    let upper = |text: &str, arguments: &[&str], dest: &str| {
        let planned = plan(&[&format!("[filesystem]\n{text}")], arguments);
        let mount =
            planned.mounts.iter().find(|mount| mount.dest == Path::new(dest)).expect("a mount").clone();
        let MountOp::Overlay { lower, upper } = mount.op else { panic!("{:?}", mount.op) };
        assert_eq!(lower, [BindSource::Path(dest.into())]);
        upper
    };
    let of = |layer, optional| OverlayUpper::Changes {
        layers: "/home/ann/.local/state/sbx/layers".into(),
        layer,
        optional,
    };
    let new = |stem: &str| ChangesLayer::New(stem.to_owned());
    assert_eq!(upper("overlay = [\"/data/x\"]", &[], "/data/x"), of(new("x"), false));
    let table = "overlay = [{ path = \"${HOME}/.x\", optional = true, layer = \"x-1\" }]";
    assert_eq!(upper(table, &[], "/home/ann/.x"), of(ChangesLayer::Again("x-1".to_owned()), true));
    assert_eq!(upper("", &["--overlay", "a b"], "/home/ann/project/a b"), of(new("a_b"), false));
    for (text, arguments) in [("cwd = \"overlay\"", &[][..]), ("cwd = \"rw\"", &["--cwd", "overlay"])] {
        assert_eq!(upper(text, arguments, "/home/ann/project"), of(new("project"), false));
    }
    // The later one wins, and the deeper one.
    assert_eq!(upper("cwd = \"rw\"", &["--overlay", "."], "/home/ann/project"), of(new("project"), false));
    let deeper = plan(&[], &["--overlay", "/data", "--rw", "/data/out", "--hide", "/data/secret"]);
    let below: Vec<_> = deeper.mounts.iter().filter(|mount| mount.dest.starts_with("/data")).collect();
    assert_eq!(below.iter().map(|mount| mount.op.word()).collect::<Vec<_>>(), ["overlay", "rw", "hide"]);
}

/// What is refused for a bind is refused for an overlay, and what can't be one.
#[test]
fn overlays_that_are_refused() {
    for (arguments, wanted) in [
        (["--overlay", "/"], "the root itself"),
        (["--overlay", "/proc"], "the kernel's"),
        (["--overlay", "/sys/fs"], "the kernel's"),
        (["--overlay", "/dev/shm"], "the kernel's"),
    ] {
        let error = refusal(&host(), &[], &arguments);
        assert!(error.to_string().contains(wanted), "{arguments:?}: {error}");
    }
    let at = |cwd: &str| Host { cwd: WorkingDirectory::Known(cwd.into()), ..host() };
    for cwd in ["/", "/home/ann", "/home", "/tmp"] {
        let error = refusal(&at(cwd), &["filesystem.cwd = \"overlay\""], &[]);
        assert!(matches!(error, PlanError::WorkingDirectoryTooWide { .. }), "{cwd}: {error:?}");
    }
}

/// Whoever reaches the register of sandboxes can end others: no overlay shows it.
#[test]
fn overlays_do_not_show_the_register() {
    let planned = plan(&[], &["--overlay", "/run/user/1000"]);
    let register = planned.registry.expect("a register");
    let mask = |mount: &&Mount| mount.dest == register && mount.op == MountOp::Mask;
    assert_eq!(planned.mounts.iter().filter(mask).count(), 1);
}
