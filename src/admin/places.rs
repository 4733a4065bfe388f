//! The places that admin connections have.
//!
//! Who comes when all are taken gets the place of the oldest connection that waits for its client:
//! for a handshake, for a request, or for an answer to be read. An honest client is done in
//! milliseconds, so those that lose their place are the slow ones, and nobody can keep the others
//! out by being slow. A connection whose answer is being made, such as of a reload, keeps its place.

use std::{cell::Cell, collections::VecDeque, future::Future, rc::Rc};

use tokio::task::{AbortHandle, JoinSet};

use crate::limits;

/// Dropped, it ends all connections.
#[derive(Default)]
pub(super) struct Places {
    connections: JoinSet<()>,
    /// Oldest first.
    taken: VecDeque<(AbortHandle, Rc<Progress>)>,
}

/// What a connection tells about itself.
#[derive(Default)]
pub(super) struct Progress {
    works: Cell<bool>,
}

/// An answer is being made, until it is dropped.
pub(super) struct Working(Rc<Progress>);

impl Progress {
    pub(super) fn work(self: &Rc<Self>) -> Working {
        self.works.set(true);
        Working(Rc::clone(self))
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.works.set(false);
    }
}

impl Places {
    /// Serves a connection, once there is a place for it. Must run in a `LocalSet`.
    pub(super) async fn take<C>(&mut self, connection: impl FnOnce(Rc<Progress>) -> C)
    where
        C: Future<Output = ()> + 'static,
    {
        self.clear();
        while self.taken.len() >= limits::ADMIN_CONNECTIONS {
            let mut waiting = self.taken.iter();
            if let Some((oldest, _)) =
                waiting.find(|(task, progress)| !progress.works.get() && !task.is_finished())
            {
                oldest.abort();
            }
            // One ends now: it was told to, or its work is done.
            self.connections.join_next().await;
            self.clear();
        }
        let progress = Rc::new(Progress::default());
        let task = self
            .connections
            .spawn_local(connection(Rc::clone(&progress)));
        self.taken.push_back((task, progress));
    }

    fn clear(&mut self) {
        while self.connections.try_join_next().is_some() {}
        self.taken.retain(|(task, _)| !task.is_finished());
    }
}

#[cfg(test)]
mod tests {
    use tokio::{sync::oneshot, task::LocalSet};

    use super::*;

    /// A connection that ends when it is told to; whether it has ended.
    fn held() -> (oneshot::Sender<()>, oneshot::Receiver<()>) {
        oneshot::channel()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_oldest_that_waits_makes_room_and_who_works_does_not() {
        let check = async {
            let mut places = Places::default();
            let mut holders = Vec::new();
            for number in 0..limits::ADMIN_CONNECTIONS {
                let (hold, held) = held();
                let connection = |progress: Rc<Progress>| async move {
                    // The first two are at work.
                    let _working = (number < 2).then(|| progress.work());
                    drop(held.await);
                };
                places.take(connection).await;
                holders.push(hold);
            }
            tokio::task::yield_now().await;
            let (_hold, one_more) = held();
            places.take(|_| async move { drop(one_more.await) }).await;
            let closed: Vec<bool> = holders.iter().map(|hold| hold.is_closed()).collect();
            let gone = closed.iter().position(|closed| *closed);
            assert_eq!(gone, Some(2), "the oldest that waits: {closed:?}");
            assert_eq!(closed.iter().filter(|closed| **closed).count(), 1);
        };
        LocalSet::new().run_until(check).await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn when_all_work_the_next_one_waits_for_the_first_to_end() {
        let check = async {
            let mut places = Places::default();
            let mut holders = VecDeque::new();
            for _ in 0..limits::ADMIN_CONNECTIONS {
                let (hold, held) = held();
                let connection = |progress: Rc<Progress>| async move {
                    let _working = progress.work();
                    drop(held.await);
                };
                places.take(connection).await;
                holders.push_back(hold);
            }
            tokio::task::yield_now().await;
            let served = Rc::new(Cell::new(false));
            let serve = |_| {
                let served = Rc::clone(&served);
                async move { served.set(true) }
            };
            let mut taking = std::pin::pin!(places.take(serve));
            let early = tokio::time::timeout(std::time::Duration::from_millis(20), &mut taking);
            assert!(early.await.is_err(), "nobody has ended");
            drop(holders.pop_front());
            taking.await;
            tokio::task::yield_now().await;
            assert!(served.get());
            assert!(holders.iter().all(|hold| !hold.is_closed()));
        };
        LocalSet::new().run_until(check).await;
    }
}
