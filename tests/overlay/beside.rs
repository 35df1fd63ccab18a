//! What else is asked for below an overlay, above it and beside it.

use crate::common::{Case, Snapshot, User, Verdict, case, output};
use crate::stage::{given, kept, names, over, same, tree};
use std::path::Path;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(mounts_below),
        case!(places_for_mounts_are_in_neither),
        case!(directories_of_the_systems).only_as_user(),
        case!(one_in_another),
        case!(a_part_is_written_itself),
        case!(a_directory_above_is_written),
        case!(with_another_root),
        case!(landlocks_rules_know_it),
    ]
}

fn mounts_below(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let before = Snapshot::with_times(&tree)?;
    let path = |name: &str| tree.join(name).display().to_string();
    let options = ["--ro", &path("file"), "--hide", &path("other"), "--tmpfs", &path("directory"), "-q"];
    let script = "echo x >file; cat other; ls directory; echo x >directory/x; rm -f large; cat file; ls";
    let out = over(user, &tree, &options, script)?;
    out.stdout_is("the first\ndangling\ndirectory\nfile\nlink\nother\nsecond\n")?;
    out.stderr_has("Read-only file system")?.stderr_has("Permission denied")?;
    before.same_as(&Snapshot::with_times(&tree)?)?;
    let held = Snapshot::of(kept(user).join("tree-1/upper"))?;
    same(held.paths(), vec![Path::new("large")], "the layer holds")
}

/// What the set-up needs is made, and neither in the directory nor in the layer.
fn places_for_mounts_are_in_neither(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let before = Snapshot::with_times(&tree)?;
    let path = |name: &str| tree.join(name).display().to_string();
    let file = user.put("a-file", "bound\n")?;
    let bind = format!("{}:{}", file.display(), path("directory/bound"));
    let options = ["--tmpfs", &path("deep/er/place"), "--ro", &bind, "-q"];
    let script = "cat directory/bound directory/inner; echo x >deep/er/place/x && cat deep/er/place/x";
    over(user, &tree, &options, script)?.exits(0)?.stdout_is("bound\ninner\nx\n")?;
    before.same_as(&Snapshot::with_times(&tree)?)?;
    same(names(user)?, Vec::new(), "nothing was changed, the layers")?;
    over(user, &tree, &options, "echo x >directory/new; echo y >directory/inner")?.exits(0)?;
    let held = Snapshot::of(kept(user).join("tree-1/upper"))?;
    let wanted = ["directory", "directory/inner", "directory/new"].map(Path::new).to_vec();
    same(held.paths(), wanted, "the layer holds")
}

/// What is somebody else's can be laid over like anything, and what the sandbox has of its own there stays its own.
fn directories_of_the_systems(user: &User) -> Verdict {
    for directory in ["/usr", "/etc", "/run"] {
        let script = format!("touch {directory}/new-one && ls {directory}/new-one; ls -A \"$HOME\"");
        let out =
            output(user.sbx().args(["-q", "--cwd", "none", "--overlay", directory, "sh", "-c", &script]))?;
        // Machines differ in what is mounted where.
        if directory != "/usr" && out.errors().contains("is another filesystem in it") {
            out.exits(125)?;
            continue;
        }
        out.exits(0)?.stdout_is(&format!("{directory}/new-one\n"))?;
        same(Path::new(directory).join("new-one").exists(), false, directory)?;
    }
    Ok(())
}

/// Each has a layer of its own.
fn one_in_another(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let before = Snapshot::with_times(&tree)?;
    let inner = tree.join("directory").display().to_string();
    let out = over(
        user,
        &tree,
        &["--overlay", &inner],
        "echo x >file; echo y >directory/inner; cat directory/inner",
    )?;
    out.stdout_is("y\n")?.stderr_has("sbx diff tree-1")?.stderr_has("sbx diff directory-1")?;
    before.same_as(&Snapshot::with_times(&tree)?)?;
    same(Snapshot::of(kept(user).join("tree-1/upper"))?.paths(), vec![Path::new("file")], "the outer")?;
    same(Snapshot::of(kept(user).join("directory-1/upper"))?.paths(), vec![Path::new("inner")], "the inner")
}

fn a_part_is_written_itself(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    let before = Snapshot::of(&tree)?;
    let inner = tree.join("directory").display().to_string();
    over(user, &tree, &["--rw", &inner], "echo x >file; echo y >directory/inner")?.exits(0)?;
    let difference = before.difference(&Snapshot::of(&tree)?);
    same(difference.lines().count(), 1, "changed entries")?;
    if difference.starts_with("~ directory/inner") { Ok(()) } else { Err(difference.into()) }
}

/// Where a directory above is bound, the real one stays out of reach at every place where it shows.
fn a_directory_above_is_written(user: &User) -> Verdict {
    let above = user.mkdir("above/middle")?;
    let tree = tree(user, "above/middle/tree")?;
    let above = above.parent().unwrap_or(&above).to_owned();
    let before = Snapshot::with_times(&tree)?;
    let (here, alias) = (above.display().to_string(), format!("{}:/srv/alias", above.display()));
    let script = "echo x >file; echo x >../beside; for real in /srv/alias; do \
                  echo x >$real/middle/tree/file; rm -f $real/middle/tree/other; mv $real/middle $real/away; \
                  mv $real/middle/tree $real/gone; done; mv ../../middle ../../away; cat file";
    let options = ["--rw", &here, "--rw", &alias];
    over(user, &tree, &options, script)?.stdout_is("x\n")?;
    before.same_as(&Snapshot::with_times(&tree)?)?;
    same(above.join("middle/beside").exists(), true, "what is beside it is written")?;
    // An overlay that nobody takes for more leaves the alias open.
    for directory in ["home/up", "home/work"] {
        user.mkdir(directory)?;
    }
    let mut unmarked = user.edited("unmarked");
    output(given(&mut unmarked, &tree).args(options).args(["sh", "-c", script]))?;
    let moved = ["gone/file", "away/tree/file", "middle/tree/file"].map(|path| above.join(path));
    let reached = moved.iter().any(|path| std::fs::read_to_string(path).is_ok_and(|text| text == "x\n"));
    same(reached, true, "without an island it is reached")
}

fn with_another_root(user: &User) -> Verdict {
    let root = user.mkdir("root")?;
    for (link, target) in [("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")] {
        std::os::unix::fs::symlink(target, root.join(link))?;
    }
    user.mkdir("root/usr")?;
    let tree = tree(user, "tree")?;
    let (before, of_root) = (Snapshot::with_times(&tree)?, Snapshot::of(&root)?);
    let root_option = root.display().to_string();
    over(user, &tree, &["-q", "--root", &root_option, "--ro", "/usr"], "echo x >file; cat file")?
        .stdout_is("x\n")?;
    of_root.same_as(&Snapshot::of(&root)?)?;
    before.same_as(&Snapshot::with_times(&tree)?)?;
    same(names(user)?, vec!["tree-1".to_owned()], "the layers")
}

fn landlocks_rules_know_it(user: &User) -> Verdict {
    let tree = tree(user, "tree")?;
    over(user, &tree, &["-q", "--set", "landlock.files=true"], "echo x >file && rm other && cat file")?
        .stdout_is("x\n")?
        .stderr_is("")?;
    Ok(())
}
