//! Transferring pages between their home and a device.
//!
//! # Safety
//!
//! Giving content to pages and taking it away changes the memory of the program, so the requests of
//! the userfaultfd are unsafe. The program does not notice if a page gets back what it had before
//! any thread can look at it. The protocol in `DESIGN.md` achieves this, and every proof here rests
//! on its rules:
//!
//! 1. A page is taken only while the table says that the caller has it in transit. A thread that
//!    touches it from then on waits.
//! 2. A page gets content only from where its own content was taken to, as the table says, and
//!    zeroes only if the table says that no content was taken.
//! 3. The table is locked from the moment that it is asked until the request is made. Messages
//!    about changes of mappings are read under the same lock, and the kernel refuses the request
//!    while one is unread. So what the table says is true when the request is made.
//! 4. All of this is about memory that is watched: no message tells of changes of other memory. So
//!    before pages are taken, the kernel is asked under the same lock whether they are watched.
//! 5. Pages are moved into holes only. A page that was at the source before, and afterwards is at
//!    the destination and not at the source, was moved, whatever the kernel counts. A hole counts
//!    as moved if its destination is a hole. Nothing else counts as moved.

#[cfg(test)]
pub(crate) mod injection;
mod moves;
mod requests;
#[cfg(test)]
pub(crate) mod ring;
mod staging;
// Miri has no userfaultfd.
#[cfg(all(test, not(miri)))]
mod tests;

#[cfg(test)]
pub(crate) use requests::Request;
pub(crate) use requests::Transfer;
pub(crate) use staging::Staging;
