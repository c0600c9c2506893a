# a record as a table
amct record --print "$DATA/../../data/record_small.txt"
printf '' >empty.txt
amct record --print empty.txt
