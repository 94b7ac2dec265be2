<?php
// Runs every test of this folder, or those whose names contain the argument, and prints one line for each.

declare(strict_types=1);

require __DIR__ . '/support.php';

foreach (glob(__DIR__ . '/*_tests.php') as $file) {
    require $file;
}

exit(Suite::run($argv[1] ?? '') ? 0 : 1);
