//! Puts one layer on top of a profile: scalars are replaced, lists grow at their end.
#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::mem;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{ProfileError, Warning};
use super::schema::field::{Edit, Edits, Field, List, Map, Spelling};
use super::schema::{
    BandwidthTable, FilesystemTable, Layer, LimitsTable, NamespacesTable, NetworkTable, TimeTable,
};
use super::{
    Bandwidth, Environment, Filesystem, FilesystemEntry, Limits, Namespaces, Network, Origin, Profile,
    Setting, TimeOffsets,
};
use crate::diag::{Location, Source};

/// Where a layer comes from, and what is odd about it.
pub(super) struct Merge<'a> {
    /// Its text.
    pub(super) source: &'a Arc<Source>,
    /// The option it is, as typed; nothing for a file.
    pub(super) flag: Option<String>,
    /// Grows.
    pub(super) warnings: &'a mut Vec<Warning>,
}

type Place = Range<usize>;

impl Merge<'_> {
    /// Puts `layer` on top of `profile`. Its `description` and `extends` are the caller's to follow.
    pub(super) fn apply(&mut self, profile: &mut Profile, layer: Layer) -> Result<(), ProfileError> {
        self.optional(&mut profile.app_id, layer.app_id);
        self.list("toolchains", &mut profile.toolchains, layer.toolchains);
        self.filesystem(&mut profile.filesystem, layer.filesystem)?;
        self.scalar(&mut profile.home, layer.home.mode);
        self.namespaces(&mut profile.namespaces, layer.namespaces);
        self.scalar(&mut profile.privileges.uid, layer.privileges.uid);
        let capabilities = layer.privileges.capabilities;
        self.list("privileges.capabilities", &mut profile.privileges.capabilities, capabilities);
        self.network(&mut profile.network, layer.network);
        self.limits(&mut profile.limits, layer.limits);
        self.list("seccomp.allow", &mut profile.seccomp.allow, layer.seccomp.allow);
        self.list("seccomp.deny", &mut profile.seccomp.deny, layer.seccomp.deny);
        self.scalar(&mut profile.seccomp.multiarch, layer.seccomp.multiarch);
        self.scalar(&mut profile.landlock.level, layer.landlock.level);
        self.list("landlock.scope", &mut profile.landlock.scope, layer.landlock.scope);
        self.scalar(&mut profile.landlock.files, layer.landlock.files);
        self.variables(&mut profile.environment, layer.environment.variables);
        self.list("environment.keep", &mut profile.environment.keep, layer.environment.keep);
        self.scalar(&mut profile.display.wayland, layer.display.wayland);
        self.scalar(&mut profile.display.x11, layer.display.x11);
        self.scalar(&mut profile.audio_playback, layer.audio.playback);
        self.scalar(&mut profile.devices_gpu, layer.devices.gpu);
        self.list("dbus.session", &mut profile.dbus_session, layer.dbus.session);
        self.scalar(&mut profile.background, layer.lifecycle.background);
        self.scalar(&mut profile.terminal, layer.terminal.mode);
        Ok(())
    }

    fn filesystem(&mut self, onto: &mut Filesystem, table: FilesystemTable) -> Result<(), ProfileError> {
        self.scalar(&mut onto.root, table.root);
        self.list("filesystem.layers", &mut onto.layers, table.layers);
        self.scalar(&mut onto.writable, table.writable);
        self.scalar(&mut onto.cwd, table.cwd);
        let lists = [
            ("filesystem.read", edits(table.read)),
            ("filesystem.write", edits(table.write)),
            ("filesystem.hide", edits(table.hide)),
            ("filesystem.tmpfs", edits(table.tmpfs)),
            ("filesystem.overlay", edits(table.overlay)),
        ];
        self.check_destinations(lists.iter().flat_map(|(_, list)| list))?;
        for (key, list) in lists {
            let same = |one: &FilesystemEntry, other: &FilesystemEntry| {
                one.kind == other.kind && one.path == other.path
            };
            self.edit(key, &mut onto.entries, list, same);
        }
        self.list("filesystem.protect", &mut onto.protect, table.protect);
        self.scalar(&mut onto.arguments, table.arguments);
        self.scalar(&mut onto.accounts, table.accounts);
        self.scalar(&mut onto.overlay_driver, table.overlay_driver);
        Ok(())
    }

    fn namespaces(&mut self, onto: &mut Namespaces, table: NamespacesTable) {
        self.scalar(&mut onto.nested, table.nested);
        self.scalar(&mut onto.hostname, table.hostname);
        let TimeTable { boottime, monotonic } = table.time;
        self.part(&mut onto.time, boottime, |time: &mut TimeOffsets, shift| time.boottime = shift);
        self.part(&mut onto.time, monotonic, |time, shift| time.monotonic = shift);
    }

    fn network(&mut self, onto: &mut Network, table: NetworkTable) {
        self.scalar(&mut onto.mode, table.mode);
        self.list("network.allow", &mut onto.allow, table.allow);
        self.list("network.deny", &mut onto.deny, table.deny);
        self.list("network.allow-private", &mut onto.allow_private, table.allow_private);
        self.list("network.publish", &mut onto.publish, table.publish);
        self.scalar(&mut onto.block_lan, table.block_lan);
        let BandwidthTable { up, down } = table.bandwidth;
        self.part(&mut onto.bandwidth, up, |bandwidth: &mut Bandwidth, rate| bandwidth.up = Some(rate));
        self.part(&mut onto.bandwidth, down, |bandwidth, rate| bandwidth.down = Some(rate));
    }

    fn limits(&mut self, onto: &mut Limits, table: LimitsTable) {
        self.optional(&mut onto.memory, table.memory);
        self.optional(&mut onto.memory_high, table.memory_high);
        self.optional(&mut onto.swap, table.swap);
        self.optional(&mut onto.cpus, table.cpus);
        self.optional(&mut onto.cpu_weight, table.cpu_weight);
        self.optional(&mut onto.cpuset, table.cpuset);
        self.scalar(&mut onto.pids, table.pids);
        self.edit("limits.io", &mut onto.io, edits(table.io), |one, other| one.path == other.path);
        self.optional(&mut onto.io_weight, table.io_weight);
        self.optional(&mut onto.cgroups, table.cgroups);
        self.optional(&mut onto.cgroup_depth, table.cgroup_depth);
        self.optional(&mut onto.nice, table.nice);
        self.optional(&mut onto.io_priority, table.io_priority);
        self.optional(&mut onto.open_files, table.open_files);
        self.optional(&mut onto.timeout, table.timeout);
        self.scalar(&mut onto.delegate, table.delegate);
        self.scalar(&mut onto.cgroup, table.cgroup);
        self.optional(&mut onto.cgroup_parent, table.cgroup_parent);
        self.scalar(&mut onto.level, table.level);
    }

    fn location(&self, place: Place) -> Location {
        Location { source: Arc::clone(self.source), range: place }
    }

    /// A value of this layer.
    pub(super) fn setting<T>(&self, value: T, place: Place) -> Setting<T> {
        let origin = match &self.flag {
            Some(flag) => Origin::Flag(flag.clone()),
            None => Origin::Profile(self.location(place)),
        };
        Setting::new(value, origin)
    }

    fn scalar<S: Spelling>(&self, slot: &mut Setting<S::Value>, field: Option<Field<S>>) {
        if let Some(field) = field {
            *slot = self.setting(field.value, field.span);
        }
    }

    fn optional<S: Spelling>(&self, slot: &mut Option<Setting<S::Value>>, field: Option<Field<S>>) {
        if let Some(field) = field {
            *slot = Some(self.setting(field.value, field.span));
        }
    }

    /// One key of a small table that is kept as one value.
    fn part<S: Spelling, T: Default>(
        &self,
        slot: &mut Option<Setting<T>>,
        field: Option<Field<S>>,
        assign: impl Fn(&mut T, S::Value),
    ) {
        if let Some(field) = field {
            let mut whole = slot.take().map(|setting| setting.value).unwrap_or_default();
            assign(&mut whole, field.value);
            *slot = Some(self.setting(whole, field.span));
        }
    }

    fn list<S>(&mut self, key: &'static str, slot: &mut Vec<Setting<S::Value>>, list: List<Edits<S>>)
    where
        S: Spelling<Value: Eq + Hash>,
    {
        self.edit(key, slot, edits(list), |one, other| one == other);
    }

    /// Takes away what this layer removes and adds what it adds. An entry that is there already moves to
    /// the end.
    fn edit<T: Eq + Hash>(
        &mut self,
        key: &'static str,
        slot: &mut Vec<Setting<T>>,
        edits: Vec<(Edit<T>, Place)>,
        same: impl Fn(&T, &T) -> bool,
    ) {
        let mut added = Vec::new();
        for (edit, place) in edits {
            match edit {
                Edit::Add(value) => added.push((value, place)),
                Edit::Remove(value) => {
                    let before = slot.len();
                    slot.retain(|setting| !same(&setting.value, &value));
                    if slot.len() == before {
                        self.warnings.push(Warning::NothingToRemove { key, location: self.location(place) });
                    }
                }
            }
        }
        if added.is_empty() {
            return;
        }
        let mut seen = HashSet::new();
        let last: Vec<bool> = added.iter().rev().map(|(value, _)| seen.insert(value)).collect();
        slot.retain(|setting| !seen.contains(&setting.value));
        let kept = added.into_iter().zip(last.into_iter().rev()).filter(|(_, last)| *last);
        slot.extend(kept.map(|((value, place), _)| self.setting(value, place)));
    }

    fn variables<K, V>(&mut self, onto: &mut Environment, table: Map<K, V>)
    where
        K: Spelling<Value = String>,
        V: Spelling<Value = Option<String>>,
    {
        let mut index: HashMap<String, usize> =
            onto.set.iter().enumerate().map(|(index, (name, _))| (name.clone(), index)).collect();
        let mut slots: Vec<_> = mem::take(&mut onto.set).into_iter().map(Some).collect();
        for (Field { value: name, span }, Field { value, span: value_span }) in table.0 {
            match (value, index.get(&name)) {
                (Some(value), Some(&index)) => slots[index] = Some((name, self.setting(value, value_span))),
                (Some(value), None) => {
                    index.insert(name.clone(), slots.len());
                    slots.push(Some((name, self.setting(value, value_span))));
                }
                (None, Some(&index)) => slots[index] = None,
                (None, None) => {
                    self.warnings.push(Warning::NothingToRemove {
                        key: "environment.set",
                        location: self.location(span),
                    });
                }
            }
        }
        onto.set = slots.into_iter().flatten().collect();
    }

    /// Refuses a layer that names one destination twice: neither entry would be the later one.
    fn check_destinations<'a>(
        &self,
        list: impl Iterator<Item = &'a (Edit<FilesystemEntry>, Place)>,
    ) -> Result<(), ProfileError> {
        let mut seen: HashMap<PathBuf, &Place> = HashMap::new();
        for (edit, place) in list {
            let Edit::Add(entry) = edit else { continue };
            let destination = entry.dest.as_ref().unwrap_or(&entry.path).to_string();
            // `/a//b/` and `/a/b` are one place.
            let normal: PathBuf = Path::new(&destination).components().collect();
            if let Some(other) = seen.insert(normal, place) {
                let (first, second) =
                    if other.start <= place.start { (other, place) } else { (place, other) };
                return Err(ProfileError::Twice {
                    destination,
                    first: self.location(first.clone()),
                    second: self.location(second.clone()),
                });
            }
        }
        Ok(())
    }
}

fn edits<S: Spelling>(list: List<Edits<S>>) -> Vec<(Edit<S::Value>, Place)> {
    list.0.into_iter().map(|field| (field.value, field.span)).collect()
}
