/** The fuzz targets of `test/fuzz`, for minutes. */
import process from 'node:process'

process.env['LOCKSTEP_FUZZ_SECONDS'] ??= '60'
await import('../fuzz/fuzz.test.js')
