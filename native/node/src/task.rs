//! Work that leaves the event loop: it runs on Node's thread pool and settles a promise.

use crate::error::{Failure, Result, rejection};
use napi::bindgen_prelude::{AsyncTask, ToNapiValue, TypeName};
use napi::{Env, Task};

type Work<T> = Box<dyn FnOnce() -> Result<T, Failure> + Send>;

/// One piece of work that owns all it needs.
pub struct Job<T>(Option<Work<T>>);

/// The promise of a [`Job`].
pub(crate) type Promised<T> = AsyncTask<Job<T>>;

/// Runs `work` on the thread pool.
pub(crate) fn promise<T>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> AsyncTask<Job<T>>
where
    T: ToNapiValue + TypeName + Send + 'static,
{
    AsyncTask::new(Job(Some(Box::new(work))))
}

impl<T: ToNapiValue + TypeName + Send + 'static> Task for Job<T> {
    type Output = Result<T, Failure>;
    type JsValue = T;

    fn compute(&mut self) -> napi::Result<Self::Output> {
        match self.0.take() {
            Some(work) => Ok(work()),
            None => Err(napi::Error::from_reason("a job runs once")),
        }
    }

    fn resolve(&mut self, env: Env, output: Self::Output) -> napi::Result<T> {
        output.map_err(|failure| rejection(env, failure))
    }
}
