//! Plans as data: tables of what is asked for, on made-up machines, and what comes of it.

mod arguments;
mod basis;
mod changes;
mod command;
mod cwd;
mod desktop;
mod environment;
mod given;
mod home;
mod identity;
mod mounts;
mod roots;
mod rules;
mod settings;
mod toolchains;
mod unbuilt;
