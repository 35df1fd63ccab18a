//! Another root filesystem than the host's: a directory or an empty root, with layers over it, and where writes go.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use super::base::{ROOT_INODES, ROOT_SIZE};
use super::entries::{Tokens, absolute, check_text};
use super::error::PlanError;
use super::mount::{BindSource, Mount, MountOp, OverlayUpper};
use crate::diag::{escape, quote};
use crate::host::Host;
use crate::invocation::Invocation;
use crate::profile::value::PathTemplate;
use crate::profile::{Filesystem, Origin, RootSource, Setting, WritableLayer};

/// Layers that an overlay may have: their names go to the kernel in one string of 4,095 bytes.
const MOST_LAYERS: usize = 180;

/// The root that was asked for.
pub(super) struct Root {
    /// `/usr` and a curated `/etc` of the host's.
    pub(super) is_host: bool,
    /// The overlay that it is, if it is one.
    pub(super) overlay: Option<Mount>,
    /// The program can write in it.
    pub(super) writable: bool,
    /// Who asked for it.
    pub(super) origin: Origin,
}

/// Which root that is.
pub(super) fn resolve(
    filesystem: &Filesystem,
    invocation: &Invocation,
    tokens: &Tokens<'_>,
) -> Result<Root, PlanError> {
    let host = tokens.host;
    let source = source(filesystem, invocation, host)?;
    let mut lower = layers(filesystem, invocation, host, tokens)?;
    let mut is_host = false;
    match &source.value {
        RootSource::Host if lower.is_empty() => is_host = true,
        RootSource::Host => {
            let hint =
                "name another root filesystem with --root DIR, or take `--root empty` for the layers alone";
            return Err(conflict("cannot put layers over the host's system", &source.origin, hint));
        }
        RootSource::Empty => {}
        RootSource::Image(_) => match &host.image {
            Some(image) => {
                lower.extend(image.layers.iter().cloned());
                if lower.is_empty() {
                    let why = format!("cannot run the image {}: it has no layers", quote(&image.name));
                    return Err(conflict(&why, &source.origin, "give it some with --layer DIR"));
                }
            }
            // Nobody has looked: a profile is checked.
            None => lower.push("/nonexistent/image".into()),
        },
        RootSource::Directory(template) => lower.push(tokens.expand(template, &source.origin)?),
    }
    let origin = source.origin;
    let writable = &filesystem.writable;
    if lower.is_empty() {
        return match writable.value {
            WritableLayer::Tmpfs | WritableLayer::None => {
                Ok(Root { is_host, overlay: None, writable: false, origin })
            }
            _ => Err(conflict(
                "cannot keep a writable layer: there is no root filesystem to lay it over",
                &writable.origin,
                "name a root filesystem with --root DIR",
            )),
        };
    }
    if lower.len() > MOST_LAYERS {
        let why = format!("cannot stack {} layers: the kernel takes at most {MOST_LAYERS}", lower.len());
        return Err(conflict(&why, &origin, "put some of them together"));
    }
    let op = MountOp::Overlay {
        lower: lower.into_iter().map(BindSource::Path).collect(),
        upper: upper(writable, host, tokens)?,
    };
    let overlay = Mount { dest: "/".into(), op, origin: origin.clone() };
    Ok(Root { is_host, overlay: Some(overlay), writable: writable.value != WritableLayer::None, origin })
}

/// The image that is wanted as the root, by name.
pub(super) fn image(
    filesystem: &Filesystem,
    invocation: &Invocation,
    host: &Host,
) -> Result<Option<String>, PlanError> {
    Ok(match source(filesystem, invocation, host)?.value {
        RootSource::Image(name) => Some(name),
        RootSource::Host | RootSource::Empty | RootSource::Directory(_) => None,
    })
}

/// The option's root, or the profile's. A path of the command line need not be text.
fn source(
    filesystem: &Filesystem,
    invocation: &Invocation,
    host: &Host,
) -> Result<Setting<RootSource>, PlanError> {
    let Some(typed) = &invocation.root else { return Ok(filesystem.root.clone()) };
    let origin = Origin::Flag(format!("--root {}", escape(typed)));
    let value = match typed.to_str() {
        Some("host") => RootSource::Host,
        Some("empty") => RootSource::Empty,
        Some(text) if text.starts_with("image:") => RootSource::Image(text["image:".len()..].to_owned()),
        _ => {
            check_text(Path::new(typed), &origin)?;
            RootSource::Directory(PathTemplate::literal(&absolute(Path::new(typed), host)?))
        }
    };
    Ok(Setting::new(value, origin))
}

/// The lower dirs above the root, topmost first: those of the command line are above the profile's.
fn layers(
    filesystem: &Filesystem,
    invocation: &Invocation,
    host: &Host,
    tokens: &Tokens<'_>,
) -> Result<Vec<PathBuf>, PlanError> {
    let typed = invocation.layers.iter().map(|path| {
        check_text(path, &Origin::Flag(format!("--layer {}", escape(path))))?;
        absolute(path, host)
    });
    let written = filesystem.layers.iter().map(|layer| tokens.expand(&layer.value, &layer.origin));
    typed.chain(written).collect()
}

/// Where writes go. Without a writable layer, too, mount points must be made for what every sandbox has.
fn upper(
    writable: &Setting<WritableLayer>,
    host: &Host,
    tokens: &Tokens<'_>,
) -> Result<OverlayUpper, PlanError> {
    Ok(match &writable.value {
        WritableLayer::Tmpfs | WritableLayer::None => {
            OverlayUpper::Tmpfs { size: ROOT_SIZE, inodes: ROOT_INODES, otherwise: host.layers() }
        }
        WritableLayer::Named(name) => {
            let layers = host.layers().ok_or(PlanError::NoHome)?;
            OverlayUpper::Kept { directory: layers.join(name), own: true }
        }
        WritableLayer::Directory(template) => {
            OverlayUpper::Kept { directory: tokens.expand(template, &writable.origin)?, own: false }
        }
    })
}

fn conflict(why: &str, origin: &Origin, hint: &str) -> PlanError {
    PlanError::Conflict { why: why.to_owned(), origin: origin.clone(), hint: hint.to_owned() }
}
