import { defineConfig } from 'eslint/config'
import tseslint from 'typescript-eslint'

/** Forbids imports that would turn the direction of the layers. */
function layer(files, forbidden, allowed = []) {
  const group = forbidden.map(folder => `**/${folder}/**`)
  return {
    files,
    ignores: allowed,
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            {
              group,
              message:
                'Imports go one way: cli -> daemon -> services {hdfs, webhdfs, posix} -> core -> native.ts.',
            },
          ],
        },
      ],
    },
  }
}

export default defineConfig(
  {
    ignores: [
      'dist/',
      'build/',
      'native/',
      'lib/binding/',
      'lib/hdfs/proto/gen/',
      'test/.cache/',
      'test/clients/java/',
      'test/clients/python/',
      '.tap/',
      'lockstep-data/',
      'lockstep-mnt/',
    ],
  },
  {
    files: ['**/*.ts'],
    // Contains ESLint's own recommended rules, less those that the compiler covers.
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/only-throw-error': ['error', { allowThrowingUnknown: true }],
      '@typescript-eslint/no-extraneous-class': 'off',
      'no-console': 'error',
      'no-empty': ['error', { allowEmptyCatch: false }],
      eqeqeq: 'error',
    },
  },
  {
    files: ['**/*.mjs', '*.js'],
    rules: { 'no-unused-vars': 'error', eqeqeq: 'error' },
  },
  {
    files: ['test/**/*.ts', 'bench/**/*.ts'],
    rules: {
      'no-console': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off',
    },
  },
  layer(['lib/*.ts'], ['hdfs', 'webhdfs', 'posix', 'daemon', 'cli']),
  layer(['lib/hdfs/**/*.ts'], ['webhdfs', 'posix', 'daemon', 'cli']),
  layer(['lib/webhdfs/**/*.ts'], ['hdfs', 'posix', 'daemon', 'cli']),
  layer(['lib/posix/**/*.ts'], ['hdfs', 'webhdfs', 'daemon', 'cli']),
  layer(['lib/daemon/**/*.ts'], ['cli']),
)
