//! What an image says of how it is run: defaults, below what the profile and the command line say. None of it reaches further than
//! the words of a command line would: an image can't widen anything.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::entries;
use super::error::PlanError;
use super::identity::has_id;
use super::mount::{Mount, MountOp};
use super::{Directory, Identity, RunsAs};
use crate::diag::quote;
use crate::host::{Host, Image};
use crate::profile::{HomeMode, Origin, Profile, Setting, Wayland, X11Mode};

/// Whom an image's programs run as where its users are mapped, if that is not root.
///
/// # Errors
/// [`PlanError::Conflict`]: not all of the user's ids are mapped, or the home directory would be somebody else's.
pub(super) fn runs_as(
    profile: &Profile,
    host: &Host,
    identity: &Identity,
) -> Result<Option<RunsAs>, PlanError> {
    let (Some(image), Some(ids)) = (&host.image, &identity.subordinate) else { return Ok(None) };
    let user = &image.user;
    if user.is_root() {
        return Ok(None);
    }
    let conflict = |why: &str, origin: &Origin, hint: &str| PlanError::Conflict {
        why: format!(
            "cannot run the image {} as its user {}: {why}",
            quote(&image.name),
            quote(&image.defaults.user)
        ),
        origin: origin.clone(),
        hint: hint.to_owned(),
    };
    let groups = [user.gid].into_iter().chain(user.groups.iter().copied());
    let missing = (!has_id(&ids.uids, user.uid)).then_some(("uid", user.uid));
    let missing = missing.or(groups.into_iter().find(|gid| !has_id(&ids.gids, *gid)).map(|gid| ("gid", gid)));
    if let Some((kind, id)) = missing {
        let hint = "more ids are given by root with usermod --add-subuids and --add-subgids";
        return Err(conflict(
            &format!("no subordinate id is its {kind} {id}"),
            &profile.privileges.uid.origin,
            hint,
        ));
    }
    if user.uid != 0 && profile.home.value == HomeMode::Private {
        let why = "a private home is the caller's, who is root there";
        return Err(conflict(why, &profile.home.origin, "set `home.mode` to \"ephemeral\""));
    }
    if let Some((key, origin)) = of_session(profile).filter(|_| user.uid != 0) {
        let why = format!("{key} is the caller's, who is root there");
        return Err(conflict(&why, origin, "leave that out, or give the image no user when it is made"));
    }
    Ok(Some(RunsAs { uid: user.uid, gid: user.gid, groups: user.groups.clone() }))
}

/// What a profile opens of the session, whose sockets and cookies are for one uid.
fn of_session(profile: &Profile) -> Option<(&'static str, &Origin)> {
    let (wayland, x11, sound) = (&profile.display.wayland, &profile.display.x11, &profile.audio_playback);
    let open = [
        ("the Wayland display", wayland.value != Wayland::Off, &wayland.origin),
        ("the X11 display", x11.value != X11Mode::Off, &x11.origin),
        ("the sound server", sound.value, &sound.origin),
    ];
    open.into_iter().find(|(_, is_open, _)| *is_open).map(|(what, _, origin)| (what, origin))
}

/// The name of that user inside, if the image has one that is fit for a user database and a variable.
pub(super) fn user_name(host: &Host) -> &str {
    let name = host.image.as_ref().map_or("", |image| image.user.name.as_str());
    let fit = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !name.is_empty() && fit(name) { name } else { "user" }
}

/// Gives the payload's user what the sandbox has made for it: the home, the runtime directory, and every tmpfs that is not the
/// system's. What is the host's stays the caller's.
pub(super) fn give_away(mounts: &mut Vec<Mount>, user: &RunsAs, runtime_dir: &Path) {
    let is_users = |mount: &&Mount| match mount.op {
        MountOp::Tmpfs { mode, .. } | MountOp::Private { mode } => {
            mode & 0o002 == 0 && !["/dev", "/run"].iter().any(|system| Path::new(system) == mount.dest)
        }
        MountOp::Dir { .. } => mount.dest == runtime_dir,
        _ => false,
    };
    let op = MountOp::Own { uid: user.uid, gid: user.gid };
    let given = |mount: &Mount| Mount { op: op.clone(), ..mount.clone() };
    let given: Vec<Mount> = mounts.iter().filter(is_users).map(given).collect();
    mounts.extend(given);
}

/// The image, with who asked for it.
pub(super) struct Asked<'a> {
    pub(super) image: &'a Image,
    pub(super) origin: Origin,
}

impl<'a> Asked<'a> {
    /// The image that is the root, if one is.
    ///
    /// # Errors
    /// Its user is none that the sandbox has, or something in it can't be handed to a program.
    pub(super) fn of(
        host: &'a Host,
        origin: &Origin,
        identity: &Identity,
    ) -> Result<Option<Self>, PlanError> {
        let Some(image) = &host.image else { return Ok(None) };
        let defaults = &image.defaults;
        let texts = [&defaults.entrypoint, &defaults.command, &defaults.environment];
        let conflict = |why: String, hint: &str| PlanError::Conflict {
            why,
            origin: origin.clone(),
            hint: hint.to_owned(),
        };
        if texts.into_iter().flatten().chain([&defaults.directory]).any(|text| text.contains('\0')) {
            let why = format!("cannot run the image {}: its configuration holds a NUL", quote(&image.name));
            return Err(conflict(why, "make the image anew"));
        }
        let (uid, gid) = (image.user.uid, image.user.gid);
        // Root of the image is whoever its one user is.
        if !image.user.is_root() && (uid, gid) != identity.of_payload() {
            let why = format!(
                "cannot run the image {} as its user {}: the sandbox has no uid but {} and no gid but {}, not {uid} and {gid}",
                quote(&image.name),
                quote(&defaults.user),
                identity.uid,
                identity.gid
            );
            return Err(conflict(
                why,
                "map more ids by `privileges.uid = \"subordinate\"`, as the profile distro does",
            ));
        }
        Ok(Some(Self { image, origin: origin.clone() }))
    }

    /// The words in front of the typed command, and those in its place where none is typed.
    pub(super) fn words(&self, typed: &[OsString]) -> (Vec<OsString>, Vec<OsString>) {
        let defaults = &self.image.defaults;
        let words = |words: &[String]| words.iter().map(OsString::from).collect();
        (
            words(&defaults.entrypoint),
            if typed.is_empty() { words(&defaults.command) } else { typed.to_vec() },
        )
    }

    /// Where it starts, if the image says.
    pub(super) fn directory(&self) -> Option<Setting<Directory>> {
        let text = &self.image.defaults.directory;
        let path = entries::normalize(&Path::new("/").join(text));
        (!text.is_empty()).then(|| Setting::new(Directory(path), self.origin.clone()))
    }

    /// That directory, made where the image has none.
    pub(super) fn mount(&self) -> Option<Mount> {
        let dest: PathBuf = self.directory()?.value.0;
        let made = Mount { dest, op: MountOp::Dir { mode: 0o755 }, origin: self.origin.clone() };
        (made.dest != Path::new("/")).then_some(made)
    }

    /// Its variables; what is none is left out.
    pub(super) fn variables(&self) -> impl Iterator<Item = (OsString, OsString)> {
        let pairs = self.image.defaults.environment.iter().filter_map(|text| text.split_once('='));
        pairs.filter(|(name, _)| !name.is_empty()).map(|(name, value)| (name.into(), value.into()))
    }
}
