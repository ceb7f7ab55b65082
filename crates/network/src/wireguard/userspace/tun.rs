//! The tun device: packets of the kernel, in both directions, many at a time.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use super::super::INTERFACE;

// <linux/if_tun.h>
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNSETPERSIST: libc::c_ulong = 0x4004_54cb;
const TUNSETOFFLOAD: libc::c_ulong = 0x4004_54d0;
const IFF_TUN: i16 = 0x0001;
const IFF_MULTI_QUEUE: i16 = 0x0100;
const IFF_NO_PI: i16 = 0x1000;
const IFF_VNET_HDR: i16 = 0x4000;
const TUN_F_CSUM: libc::c_ulong = 0x01;
const TUN_F_TSO4: libc::c_ulong = 0x02;
const TUN_F_TSO6: libc::c_ulong = 0x04;

/// `struct ifreq`, as far as this ioctl looks.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: i16,
    rest: [u8; 22],
}

/// Opens `count` queues of the device, which is made when there is none. It stays when this process ends: its routes stay
/// too, and packets wait for the next process or are lost, but never take another way.
pub(super) fn open(count: usize) -> io::Result<Vec<File>> {
    (0..count.max(1)).map(|_| queue()).collect()
}

fn queue() -> io::Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")
        .map_err(|error| {
            io::Error::new(error.kind(), format!("/dev/net/tun cannot be opened (module tun): {error}"))
        })?;
    let mut request =
        InterfaceRequest { name: [0; 16], flags: IFF_TUN | IFF_MULTI_QUEUE | IFF_NO_PI | IFF_VNET_HDR, rest: [0; 22] };
    request.name[..INTERFACE.len()].copy_from_slice(INTERFACE.as_bytes());
    // SAFETY: the kernel reads and writes one `ifreq` behind a pointer to one, which lives until the call returns; the
    // descriptor is open.
    let made = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, &raw mut request) };
    done(made, "attach to the interface")?;
    // SAFETY: these take a number, no pointer; the descriptor is open.
    let kept = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETPERSIST, 1 as libc::c_ulong) };
    done(kept, "keep the interface")?;
    // SAFETY: as above.
    let offload = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) };
    done(offload, "take large packets from the interface")?;
    Ok(file)
}

fn done(code: libc::c_int, what: &str) -> io::Result<()> {
    if code >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    Err(io::Error::new(error.kind(), format!("cannot {what} {INTERFACE}: {error}")))
}

/// A signal to every thread that waits on it, for good.
pub(super) fn stop_signal() -> io::Result<OwnedFd> {
    use rustix::event::{EventfdFlags, eventfd};
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}
