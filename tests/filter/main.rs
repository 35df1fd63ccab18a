//! The filter of system calls, against a machine that runs it, an oracle that shares no code with the compiler, and
//! the kernel.

mod differential;
mod kernel;
mod lists;
mod machine;
mod oracle;
