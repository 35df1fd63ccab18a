//! Files named on the command line, for programs that get nothing else of the user's.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::entries::{self, Layout};
use super::error::PlanError;
use super::image::Asked;
use super::mount::{Access, BindSource, Mount, MountOp};
use crate::host::{Host, NamedFile, WorkingDirectory};
use crate::profile::{ArgumentsMode, Profile};

/// The layer of these mounts: above the base and the working directory, below whatever a profile or an option says.
pub(super) const LAYER: usize = 1;

/// How the sandbox has a path.
enum Has {
    /// As the same file.
    Same,
    /// Not, and nothing is in the way of putting it there.
    Nothing,
    /// Something else is there, which stays.
    Other,
}

fn has(layout: &Layout, path: &Path) -> Has {
    let Some(nearest) = layout.nearest(path) else { return Has::Nothing };
    match &nearest.op {
        MountOp::Bind { source: BindSource::Path(source), .. } if *source == nearest.dest => Has::Same,
        MountOp::Private { .. } | MountOp::Dir { .. } | MountOp::Tmpfs { .. } => Has::Nothing,
        _ => Has::Other,
    }
}

/// Adds the files to the layout: at their own paths, or, where the sandbox has something else there, in a directory of their
/// own.
pub(super) fn show(
    layout: &mut Layout,
    profile: &Profile,
    host: &Host,
    runtime_dir: &Path,
) -> Result<Vec<Shown>, PlanError> {
    let mode = &profile.filesystem.arguments;
    let access = match mode.value {
        ArgumentsMode::None => return Ok(Vec::new()),
        ArgumentsMode::Ro => Access::ReadOnly,
        ArgumentsMode::Rw => Access::Writable,
    };
    let mut shown = Vec::new();
    for file in &host.named_files {
        entries::check_path(&file.path, &mode.origin)?;
        let dest = match has(layout, &file.path) {
            Has::Same => {
                shown.push(Shown { file: file.clone(), dest: file.path.clone() });
                continue;
            }
            // What somebody hides stays hidden, even from itself.
            Has::Other if layout.hides(&file.path) => continue,
            Has::Nothing => file.path.clone(),
            Has::Other => {
                let name = file.path.file_name().unwrap_or_default();
                runtime_dir.join("arguments").join(file.index.to_string()).join(name)
            }
        };
        let op = MountOp::Bind {
            source: BindSource::Path(file.path.clone()),
            access,
            devices: false,
            optional: false,
            create: None,
        };
        layout.add(LAYER, Mount { dest: dest.clone(), op, origin: mode.origin.clone() });
        shown.push(Shown { file: file.clone(), dest });
    }
    Ok(shown)
}

/// A file that the sandbox has, and where.
pub(super) struct Shown {
    file: NamedFile,
    dest: PathBuf,
}

/// The command, its words changed where they would name another file inside, with what an image has of it.
pub(super) fn words(
    command: &[OsString],
    shown: &[Shown],
    host: &Host,
    directory: &Path,
    image: &Option<Asked<'_>>,
) -> Vec<OsString> {
    let stays = matches!(&host.cwd, WorkingDirectory::Known(cwd) if cwd == directory);
    let mut words = command.to_vec();
    for Shown { file, dest } in shown {
        let moved = *dest != file.path || (file.relative && !stays);
        if let Some(word) = words.get_mut(file.index).filter(|_| moved) {
            *word = file.word_for(dest);
        }
    }
    Asked::command(image, words)
}
