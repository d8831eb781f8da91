//! Descriptors of Python's as files of our own.

use std::fs::File;
use std::io;

use pyo3::PyResult;

/// A duplicate of what Python has under this number, a handle on Windows.
#[cfg(unix)]
#[allow(unsafe_code, reason = "Python has descriptors as numbers only")]
pub(super) fn duplicate(descriptor: isize) -> PyResult<File> {
    use std::os::fd::BorrowedFd;

    let descriptor = i32::try_from(descriptor).ok().filter(|number| *number >= 0);
    let descriptor = descriptor.ok_or_else(|| io::Error::from_raw_os_error(9))?;
    // SAFETY: a number that is no open descriptor is an error of the one call that is made with it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    Ok(borrowed.try_clone_to_owned()?.into())
}

/// A duplicate of what Python has under this number, a handle on Windows.
#[cfg(windows)]
#[allow(unsafe_code, reason = "Python has handles as numbers only")]
pub(super) fn duplicate(descriptor: isize) -> PyResult<File> {
    use std::os::windows::io::BorrowedHandle;

    // SAFETY: a number that is no open handle is an error of the one call that is made with it.
    let borrowed = unsafe {
        BorrowedHandle::borrow_raw(std::ptr::without_provenance_mut(descriptor.cast_unsigned()))
    };
    Ok(borrowed.try_clone_to_owned()?.into())
}
