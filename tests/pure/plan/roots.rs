//! Root filesystems of layers.

use crate::plan::given::{host, plan, plan_on, refusal};
use sbx::host::Host;
use sbx::plan::{BindSource, MountOp, OverlayUpper, Plan, PlanError};
use std::path::Path;

fn overlay(plan: &Plan) -> (Vec<&Path>, &OverlayUpper) {
    let first = &plan.mounts[0];
    assert_eq!(first.dest, Path::new("/"));
    let MountOp::Overlay { lower, upper } = &first.op else { panic!("{:?}", first.op) };
    fn path(source: &BindSource) -> &Path {
        let BindSource::Path(path) = source else { panic!("{source:?}") };
        path
    }
    (lower.iter().map(path).collect(), upper)
}

fn dests_of(plan: &Plan) -> Vec<&str> {
    plan.mounts.iter().filter_map(|mount| mount.dest.to_str()).collect()
}

#[test]
fn layers_go_over_the_root() {
    let profile = "filesystem.root = \"/srv/root\"\nfilesystem.layers = [\"/srv/a\", \"/srv/b\"]";
    let planned = plan(&[profile], &["--layer", "c", "--layer", "/d/../e"]);
    let (lower, upper) = overlay(&planned);
    assert_eq!(lower, ["/home/ann/project/c", "/e", "/srv/a", "/srv/b", "/srv/root"].map(Path::new));
    assert!(matches!(upper, OverlayUpper::Tmpfs { .. }));
    assert!(!planned.root.read_only);
}

#[test]
fn the_option_replaces_the_profiles_root() {
    let profile = "filesystem.root = \"/srv/root\"";
    assert_eq!(overlay(&plan(&[profile], &["--root", "other"])).0, [Path::new("/home/ann/project/other")]);
    let own = plan(&[profile], &["--root", "host"]);
    assert!(dests_of(&own).contains(&"/usr") && own.root.read_only);
    let empty = plan(&[profile], &["--root", "empty"]);
    assert!(!dests_of(&empty).contains(&"/usr") && !dests_of(&empty).contains(&"/"));
}

#[test]
fn writes_go_where_the_profile_says() {
    let kept = |writable: &str| {
        let planned =
            plan(&["filesystem.root = \"/srv/root\"", &format!("filesystem.writable = {writable:?}")], &[]);
        assert!(!planned.root.read_only);
        overlay(&planned).1.clone()
    };
    let expected = OverlayUpper::Kept { directory: "/home/ann/.local/state/sbx/layers/x".into(), own: true };
    assert_eq!(kept("layer:x"), expected);
    let expected = OverlayUpper::Kept { directory: "/home/ann/up".into(), own: false };
    assert_eq!(kept("${HOME}/up"), expected);
    let sealed = plan(&["filesystem.root = \"/srv/root\"", "filesystem.writable = \"none\""], &[]);
    assert!(sealed.root.read_only);
    // Mount points are made all the same.
    assert!(matches!(overlay(&sealed).1, OverlayUpper::Tmpfs { .. }));
    let homeless = Host { state_home: None, ..host() };
    let texts = ["filesystem.root = \"/srv/root\"", "filesystem.writable = \"layer:x\""];
    assert!(matches!(refusal(&homeless, &texts, &[]), PlanError::NoHome));
}

/// Nothing of the host's system is in it but what somebody names.
#[test]
fn the_hosts_system_stays_away() {
    let profile = "filesystem.root = \"/srv/root\"\nfilesystem.read = [\n  { path = \"/opt\", optional = true },\n  \
                   { path = \"${HOME}/.cargo\", optional = true },\n  \"/data\",\n]";
    let planned = plan(&[profile], &[]);
    let dests = dests_of(&planned);
    for there in [
        "/proc",
        "/dev",
        "/dev/null",
        "/tmp",
        "/run",
        "/etc/hosts",
        "/etc/hostname",
        "/etc/resolv.conf",
        "/home/ann",
        "/data",
        "/home/ann/.cargo",
    ] {
        assert!(dests.contains(&there), "{there} is missing in {dests:?}");
    }
    for away in ["/usr", "/bin", "/etc/ssl", "/etc/passwd", "/etc/machine-id", "/opt", "/var/run", "/var/tmp"]
    {
        assert!(!dests.contains(&away), "{away} is in {dests:?}");
    }
    let of_the_roots = plan(&["filesystem.read = [{ path = \"/opt\", optional = true }]"], &[]);
    assert!(dests_of(&of_the_roots).contains(&"/opt"));
}

#[test]
fn what_can_not_be_together_is_refused() {
    for (texts, arguments) in [
        (&[][..], &["--layer", "/a"][..]),
        (&["filesystem.layers = [\"/a\"]"], &[]),
        (&["filesystem.writable = \"layer:x\""], &[]),
        (&["filesystem.writable = \"/up\"", "filesystem.root = \"empty\""], &[]),
    ] {
        let error = refusal(&host(), texts, arguments);
        assert!(matches!(error, PlanError::Conflict { .. }), "{texts:?} {arguments:?}: {error}");
    }
    assert!(plan_on(&host(), &["filesystem.writable = \"none\""], &[]).is_ok());
}
