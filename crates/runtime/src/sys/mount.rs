//! Mounts and path resolution that cannot leave a root.

use std::{
    ffi::CString,
    io, mem,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    ptr,
};

use super::{c_string, check};

/// mount(2). `None` parts are null pointers.
pub(crate) fn mount(
    source: Option<&Path>,
    target: &Path,
    kind: Option<&str>,
    flags: libc::c_ulong,
    data: Option<&str>,
) -> io::Result<()> {
    let text = |t: Option<&[u8]>| t.map(c_string).transpose();
    let source = text(source.map(|p| p.as_os_str().as_bytes()))?;
    let kind = text(kind.map(str::as_bytes))?;
    let data = text(data.map(str::as_bytes))?;
    let target = c_string(target.as_os_str().as_bytes())?;
    let pointer = |t: &Option<CString>| t.as_ref().map_or(ptr::null(), |t| t.as_ptr());
    // SAFETY: every pointer is null or a NUL-terminated string that outlives the call.
    check(unsafe { libc::mount(pointer(&source), target.as_ptr(), pointer(&kind), flags, pointer(&data).cast()) })?;
    Ok(())
}

/// umount2(2).
pub(crate) fn unmount(target: &Path, flags: i32) -> io::Result<()> {
    let target = c_string(target.as_os_str().as_bytes())?;
    // SAFETY: the string outlives the call.
    check(unsafe { libc::umount2(target.as_ptr(), flags) })?;
    Ok(())
}

/// Makes `new_root` (an open folder that is a mount) the root and detaches the old one; the working directory ends at `/`.
pub(crate) fn pivot_root(new_root: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: plain system calls on a valid descriptor and constant strings. pivot_root(".", ".") stacks the old root over
    // the new one, from where it can be detached without a folder to put it in (pivot_root(2), NOTES).
    unsafe {
        check(libc::fchdir(new_root.as_raw_fd()))?;
        check(libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()))?;
        check(libc::umount2(c".".as_ptr(), libc::MNT_DETACH))?;
        check(libc::chdir(c"/".as_ptr()))?;
    }
    Ok(())
}

/// Opens `path` below `root` as if `root` were `/`: neither `..` nor links (magic ones neither) lead out.
pub(crate) fn open_in_root(root: BorrowedFd<'_>, path: &Path, flags: i32) -> io::Result<OwnedFd> {
    let path = c_string(if path.as_os_str().is_empty() { b"." } else { path.as_os_str().as_bytes() })?;
    // SAFETY: open_how is plain data for which all zeroes is a valid value.
    let mut how: libc::open_how = unsafe { mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
    for _ in 0..64 {
        // SAFETY: the path and the structure outlive the call; the size passed is the structure's.
        let opened = check(unsafe {
            libc::syscall(libc::SYS_openat2, root.as_raw_fd(), path.as_ptr(), &how, mem::size_of_val(&how))
        });
        match opened {
            // SAFETY: the kernel just gave us this descriptor.
            Ok(fd) => return Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) }),
            // A rename raced with a "..": the kernel asks to try again.
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from_raw_os_error(libc::EAGAIN))
}

/// Makes the mount at `target` read-only, with everything below it when `recursive` and the kernel can (5.12).
pub(crate) fn make_read_only(target: BorrowedFd<'_>, recursive: bool) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: an empty constant path, a structure that outlives the call, and its size.
    let done = check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            target.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &attributes,
            mem::size_of_val(&attributes),
        )
    });
    match done {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            let path = format!("/proc/self/fd/{}", target.as_raw_fd());
            mount(None, Path::new(&path), None, libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY, None)
        }
        Err(error) => Err(error),
    }
}
