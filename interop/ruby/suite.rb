# Runs every test of this folder, or those whose names contain the argument, and prints one line for each.

require_relative 'support'

Dir[File.join(__dir__, '*_tests.rb')].sort.each { |file| require file }

exit Suite.run(ARGV.first.to_s)
