package conformance

// The paths of the model-based tests of amazon-freertos, one a line: its number
// there, and the behaviours in their order. Where a path says more than
// FreeRTOS runs, or other than the standard, the line above it tells.

const sessionPaths = `
0: Init.N Init.X0
1: Init.N Fin.N
2: Init.N Fin.N Fin.X0
3: Init.N Fin.X1
4: Init.N Open.N Init.X0
5: Init.N Open.N Fin.N Fin.X0
6: Init.N Open.N Fin.X1
7: Init.N Open.N Close.X0
8: Init.N Open.X0
9: Init.N Open.X1
10: Init.N Open.N Close.N Init.X0
# 11 to 13 close a session that is closed already, for want of an Open.N.
11: Init.N Open.N Close.N Fin.N Fin.X0
12: Init.N Open.N Close.N Fin.X1
13: Init.N Open.N Close.N Close.X0
14: Init.N Close.X0
15: Fin.X0
16: Fin.X0 Init.N Init.X0
17: Fin.X0 Init.N Fin.N
18: Fin.X0 Init.N Fin.X1
19: Fin.X0 Init.N Open.N Init.X0
20: Fin.X0 Init.N Open.N Fin.X1
21: Fin.X0 Init.N Open.N Close.X0
22: Fin.X0 Init.N Open.X0
23: Fin.X0 Init.N Open.X1
24: Fin.X0 Fin.X0 Init.N Open.N Close.N Init.X0
25: Fin.X0 Init.N Open.N Close.N Fin.X1
26: Fin.X0 Init.N Open.N Close.N Close.X0
27: Fin.X0 Init.N Close.X0
28: Fin.X0 Fin.X0
29: Fin.X0 Fin.X0 Fin.X0
30: Init.N Open.N Fin.N
31: SI.X9 S.X4
# 32 is defined and not run there, 33 run twice.
32: VI.X8 V.X6
33: DI.X4 DU.X3 DF.X4
34: GR.X0 GK.X5
35: FI.X3 FO.X3 FF.X2 GA.X5
36: FF.X2 GA.X5
# 37 has the behaviours that are defined and in no path.
37: Open.X2 Close.X1 SI.X8
`

const digestPaths = `
0: DI.N
1: DI.N DI.X0
2: DI.X1
3: DI.X2
4: DI.X3
5: DI.N DU.N
6: DU.X0
7: DI.N DU.X1
8: DI.N DU.X2
9: DI.N DU.N DF.N
10: DF.X0
11: DI.N DU.N DF.X1
12: DI.N DU.N DF.X2
13: DI.N DU.N DF.X3
14: DI.N DU.N DF.X3 DF.N
15: DI.N DU.N DF.X3 DF.X2 DF.N
16: DI.N DU.N DF.X3 DF.X1 DF.X0
17: DI.N DU.N DF.N DI.N DU.N DF.N
18: DI.N DU.N DF.N DI.N DU.N DF.X2 DF.N
19: DI.N DU.X1 DI.X1 DU.N DF.N
20: DI.N DU.X2 DI.N DU.N DF.N
21: DI.N DU.X2 DU.X0
22: DI.N DU.X1 DU.N
23: DI.N DU.X1 DU.N DF.N
24: DI.N DU.X2 DU.X0 DF.X0 DI.N DU.N DF.N
# 25 is defined and not run there.
25: DI.N DU.N DF.N DI.N DU.N DF.X1 DI.N DU.N DF.N
`

const generationPaths = `
0: GK.N
1: GK.X0
2: GK.X1
3: GK.X2
4: GK.X3
5: GK.X4
6: GK.X1 GK.X2 GK.N GK.X3 GK.X4
7: GK.N GK.N
8: GK.N GK.X2 GK.X2
9: GK.N GK.X1 GK.X1 GK.N
10: GR.N
11: GR.X1
12: GR.X2
`

const objectPaths = `
0: FI.N
1: FI.N FO.N
2: FI.N FO.N FF.N
3: FI.N FO.N FF.N FI.N FO.N FF.N
4: FI.N FI.X0
5: FI.X1
6: FI.X2
7: FO.X0
8: FI.N FO.X1
9: FI.N FO.X2
10: FF.X0
11: FI.N FO.N FF.X1
12: FI.N FO.X1 FI.X0
13: FI.N FO.X2 FI.N
14: FI.N FF.N
15: GA.N
16: GA.X0
17: GA.X1
18: GA.X2
19: GA.X3
20: GA.X4
`

const verifyPaths = `
0: VI.N V.N VI.N VI.X0
1: VI.N V.N VI.N V.N
2: VI.N V.N VI.X2
3: VI.N V.N VI.X3
4: VI.N V.N VI.X4
# 5 is not run to its end there: VI.X5 is a comment.
5: VI.N V.N VI.X5
6: VI.N V.N VI.X6
7: VI.N V.N VI.X7
8: V.X0 VI.N V.N V.X0
9: V.X0 VI.N VI.X0 V.N V.X0
10: V.X0 VI.N V.X1
11: V.X0 VI.N V.X2
12: V.X0 VI.N V.X3
13: V.X0 VI.N V.X4
14: V.X0 VI.N V.X5
15: V.X0 VI.N V.X4 V.X0
16: V.X0 VI.N V.X3 V.X0
17: V.X0 VI.N V.X2 V.X0
18: V.X0 VI.N V.X1 V.N V.X0
19: V.X0 VI.N V.X1 V.N VI.N V.N V.X0
# 20 has the behaviour that is defined and in no path.
20: VI.N VI.X1 V.N
`

const signPaths = `
0: SI.N SI.X0
1: SI.N S.N SI.N S.N
2: SI.N S.N SI.X2
3: SI.N S.N SI.X3
4: SI.N S.N SI.X4
# Wherever SI.X5 is, it is a comment there.
5: SI.N S.N SI.X5
6: SI.N S.N SI.X6
7: SI.N S.N SI.X7
8: S.X0 SI.N S.N S.X0
9: S.X0 SI.N SI.X0 S.N S.X0
10: SI.N S.X1
11: SI.N S.X1 S.N SI.X2
12: SI.N S.X1 S.N SI.X3
13: SI.N S.X1 S.N SI.X4
14: SI.N S.X1 S.N SI.X5
15: SI.N S.X1 S.N SI.X6
16: SI.N S.X1 S.N SI.X7
17: SI.N SI.X3
18: SI.N S.X1 S.N S.X0
19: SI.N S.X2 SI.X0
20: SI.N S.X2 S.X1 S.N SI.X2
21: SI.N S.X2 S.X1 S.N SI.X3
22: SI.N S.X2 S.X1 S.N SI.X4 SI.N
23: SI.N S.X2 S.X1 S.N SI.X5
24: SI.N S.X2 S.X1 S.N SI.X6
25: SI.N S.X2 S.X3 SI.X7
26: SI.N S.X2 S.X1
27: SI.N S.X2 S.X1 S.N S.X0
28: SI.N S.X2 S.X2 S.N SI.N S.N
29: SI.N S.X2 S.X3 SI.X2
30: SI.N S.X2 S.X3 SI.X3
31: SI.N S.X2 S.X3 SI.X4
32: SI.N S.X2 S.X3 SI.X5
33: SI.N S.X2 S.X3 SI.X6
34: SI.N S.X2 S.X3 SI.X7
35: SI.N S.X2 S.X3
36: SI.N S.X2 S.X3 S.X0
37: SI.N S.X3
38: SI.N S.X3 SI.X2
39: SI.N S.X3 SI.X3
40: SI.N S.X3 SI.X4
41: SI.N S.X3 SI.X5
42: SI.N S.X3 SI.X6
43: SI.N S.X3 SI.X7
44: SI.N S.X3
45: SI.N S.X3 S.X0
46: SI.X2
47: SI.X2 SI.N SI.X0
48: SI.X2 SI.N S.N
49: SI.X2 SI.N S.X1
50: SI.X2 SI.N S.X2 SI.X0
51: SI.X2 SI.N S.X2 S.X2
52: SI.X2 SI.N S.X3
53: S.X0 SI.X2 SI.X2 S.X0
54: SI.N S.X3 SI.X2
55: SI.X2 SI.X2 SI.X3
56: SI.X2 SI.X2 SI.X4
57: SI.X2 SI.X2 SI.X5
58: SI.X2 SI.X2 SI.X6
59: SI.X2 SI.X2 SI.X7
60: SI.X2 SI.X2
61: SI.X2 SI.X2 S.X0
62: SI.X2 SI.X3
63: SI.X2 SI.X3 SI.X2 S.X0 SI.N S.X3
64: SI.X2 SI.X3 SI.X3
65: SI.X2 SI.X3 SI.X4
66: SI.X2 SI.X3 SI.X5
67: SI.X2 SI.X3 SI.X6
68: SI.X2 SI.X3 SI.X7
69: SI.X2 SI.X3
70: SI.X2 SI.X3 S.X0
71: SI.X2 SI.X4 S.X0
72: SI.X2 SI.X4 SI.X2 S.X0
73: SI.X2 SI.X4 SI.X3 S.X0
74: SI.X2 SI.X4 SI.X4 S.X0
75: SI.X2 SI.X4 SI.X5
76: SI.X2 SI.X4 SI.X6 S.X0
# 77 has the behaviour that is defined and in no path.
77: SI.N SI.X1 S.N
`
