//! Strings for execve(2), made before or without any allocation.

use std::ffi::{CStr, c_char};

use nix::errno::Errno;

/// Strings for execve(2): a vector of pointers that ends in a null, and what they point at.
#[derive(Debug)]
pub struct StringVector {
    pointers: Vec<*const c_char>,
    _strings: Vec<std::ffi::CString>,
}

impl StringVector {
    /// Takes the strings over.
    pub fn new(strings: Vec<std::ffi::CString>) -> Self {
        // A CString's buffer does not move with the CString.
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect();
        Self { pointers, _strings: strings }
    }
}

/// execve(2); returns only the errno of its failure.
pub fn execve(path: &CStr, arguments: &StringVector, environment: &StringVector) -> Errno {
    // SAFETY: path is a live NUL-terminated string; both vectors end in a null and point at strings that they own.
    unsafe { libc::execve(path.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr()) };
    Errno::last()
}

/// Room for strings that are known only when nothing may be allocated any more: several vectors for execve(2) in one.
#[derive(Debug)]
pub struct StringTable {
    bytes: Vec<u8>,
    pointers: Vec<*const c_char>,
}

impl StringTable {
    /// Room for so many bytes, each string's NUL among them, in so many strings and vectors. What is not used costs nothing
    /// but addresses.
    pub fn with_room(bytes: usize, strings: usize) -> Self {
        Self { bytes: vec![0; bytes], pointers: Vec::with_capacity(strings) }
    }

    /// Reads a file to its end, made of what [`StringTable::entry`] and [`StringTable::END`] say.
    ///
    /// # Errors
    /// `E2BIG` when it does not fit, `EINVAL` for another form, what read(2) says.
    pub fn fill(&mut self, file: impl std::os::fd::AsFd) -> Result<(), Errno> {
        self.pointers.clear();
        let mut length = 0;
        loop {
            let room = self.bytes.get_mut(length..).filter(|room| !room.is_empty()).ok_or(Errno::E2BIG)?;
            match nix::unistd::read(&file, room) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        let mut rest = self.bytes.get(..length).ok_or(Errno::E2BIG)?;
        while !rest.is_empty() {
            let string = CStr::from_bytes_until_nul(rest).map_err(|_| Errno::EINVAL)?;
            rest = rest.get(string.to_bytes_with_nul().len()..).unwrap_or_default();
            if self.pointers.len() == self.pointers.capacity() {
                return Err(Errno::E2BIG);
            }
            match string.to_bytes() {
                [b's', ..] => self.pointers.push(string.as_ptr().wrapping_add(1)),
                [b'.'] => self.pointers.push(std::ptr::null()),
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(())
    }

    /// The end of a vector.
    pub const END: &[u8] = b".\0";

    /// A string of a vector, without its NUL.
    pub fn entry(string: &[u8]) -> impl Iterator<Item = u8> {
        [b's'].into_iter().chain(string.iter().copied()).chain([0])
    }

    /// The strings of a vector, by its number.
    fn vector(&self, number: usize) -> Option<&[*const c_char]> {
        let mut start = 0;
        for _ in 0..number {
            start += self.pointers.get(start..)?.iter().position(|pointer| pointer.is_null())? + 1;
        }
        let length = self.pointers.get(start..)?.iter().position(|pointer| pointer.is_null())?;
        // With its null.
        self.pointers.get(start..=start + length)
    }

    /// A string of a vector.
    pub fn string(&self, vector: usize, index: usize) -> Option<&CStr> {
        let pointer = *self.vector(vector)?.get(index).filter(|pointer| !pointer.is_null())?;
        // SAFETY: it points at a NUL-terminated string in self.bytes, which is borrowed as long as what is returned.
        Some(unsafe { CStr::from_ptr(pointer) })
    }

    /// execve(2) with two vectors of the table; returns only the errno of its failure.
    pub fn execve(&self, path: &CStr, arguments: usize, environment: usize) -> Errno {
        let (Some(arguments), Some(environment)) = (self.vector(arguments), self.vector(environment)) else {
            return Errno::EINVAL;
        };
        // SAFETY: path is a live NUL-terminated string; both vectors end in a null and point at strings that self owns.
        unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        Errno::last()
    }
}
