//! Closed sets of words.
#![forbid(unsafe_code)]

/// A run of closed sets of words, each spelled in kebab-case in TOML, on the command line and in output.
macro_rules! words {
    ($($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? })+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            /// Every word of the set, in order.
            pub const WORDS: &[&str] = &[$($word),+];
            /// The word as it is written.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
            /// The value that `word` spells.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    )+};
}

words! {
    /// How much a layer of confinement is wanted.
    Level {
        /// Cannot be met: nothing runs.
        Require = "require",
        /// A miss is one line on stderr and in the status JSON.
        Prefer = "prefer",
        /// Used where the kernel has it; shown by `explain`.
        #[default] Available = "available",
        /// Not used.
        Off = "off",
    }
    /// What the sandbox gets of the working directory.
    CwdMode {
        /// Bound writable.
        Rw = "rw",
        /// Bound read-only.
        Ro = "ro",
        /// Writable, changes kept in a layer.
        Overlay = "overlay",
        /// Nothing: the sandbox starts in its home.
        #[default] None = "none",
    }
    /// What overlays are: of layers, and over directories.
    OverlayDriver {
        /// The kernel's overlayfs.
        #[default] Kernel = "kernel",
        /// A process of `fuse-overlayfs` for each.
        FuseOverlayfs = "fuse-overlayfs",
    }
    /// What `$HOME` is inside.
    HomeMode {
        /// An empty tmpfs.
        #[default] Ephemeral = "ephemeral",
        /// A directory of sbx's own, kept between runs, one for each profile.
        Private = "private",
        /// Named parts of the real one.
        AllowList = "allow-list",
    }
    /// What happens to files named on the command line.
    ArgumentsMode {
        /// Nothing.
        #[default] None = "none",
        /// Bound read-only.
        Ro = "ro",
        /// Bound writable.
        Rw = "rw",
    }
    /// Which namespaces the payload may make.
    Nested {
        /// None: `user.max_user_namespaces` is 0 inside.
        #[default] None = "none",
        /// All but mount namespaces: what a browser's own sandbox needs.
        Browser = "browser",
        /// All.
        Full = "full",
    }
    /// The id map of the user namespace.
    UidMap {
        /// The caller's own ids.
        #[default] Same = "same",
        /// 0 inside is the caller outside.
        Root = "root",
        /// 0 and the whole subordinate range.
        Subordinate = "subordinate",
    }
    /// What the network namespace reaches.
    NetworkMode {
        /// Loopback of its own.
        #[default] None = "none",
        /// The host's network.
        Host = "host",
        /// A network of its own behind a user-mode NAT.
        Private = "private",
        /// A filtering proxy.
        Proxy = "proxy",
    }
    /// What Landlock scopes.
    LandlockScope {
        /// Signals to processes outside.
        #[default] Signal = "signal",
        /// Abstract unix sockets of processes outside.
        AbstractUnix = "abstract-unix",
    }
    /// Wayland by its socket.
    Wayland {
        /// Not given.
        #[default] Off = "false",
        /// Given, and required.
        On = "true",
        /// Given when there is one.
        Optional = "optional",
    }
    /// Which X server the sandbox reaches.
    X11Mode {
        /// None.
        #[default] Off = "off",
        /// One of its own.
        Private = "private",
        /// The host's.
        Host = "host",
    }
    /// What becomes of the processes that the command leaves behind.
    Background {
        /// They end with it.
        #[default] Kill = "kill",
        /// They are waited for.
        Wait = "wait",
    }
    /// Toolchains that people keep in their homes.
    Toolchain {
        /// rustup's, and cargo's programs.
        #[default] Rustup = "rustup",
        /// Node.js by nvm.
        Nvm = "nvm",
        /// Python by pyenv.
        Pyenv = "pyenv",
        /// uv, and the Pythons and tools that it installed.
        Uv = "uv",
        /// Go.
        Go = "go",
    }
    /// What the payload has for a terminal.
    TerminalMode {
        /// One of sbx's own when a terminal is attached.
        #[default] Pty = "pty",
        /// The caller's.
        Inherit = "inherit",
        /// None.
        None = "none",
    }
}
