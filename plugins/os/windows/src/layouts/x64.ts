/**
 * Structures of the kernels of 64-bit Windows as far as they are read here, from their public symbol files. A row holds from its build on, up to the next one:
 * see `layouts.ts` for how it is written.
 */
import type { LayoutRows } from './layouts.js';

export const X64: Readonly<Record<string, LayoutRows>> = {
  _EPROCESS: [
    [
      '3790.1',
      '3e0 Pcb@0:_KPROCESS CreateTime@c0:u8 ExitTime@c8:u8 UniqueProcessId@d8:p ActiveProcessLinks@e0:_LIST_ENTRY ObjectTable@158:*_HANDLE_TABLE Token@160:_EX_FAST_REF SectionBaseAddress@1f8:p InheritedFromUniqueProcessId@218:p ImageFileName@268:[16]u1 SeAuditProcessCreationInfo@318:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@290:_LIST_ENTRY ActiveThreads@2b0:u4 Peb@2c0:*_PEB Wow64Process@2a8:p VadRoot@398:_MM_AVL_TABLE',
    ],
    [
      '6000',
      '3e8 Pcb@0:_KPROCESS CreateTime@c8:u8 ExitTime@d0:u8 UniqueProcessId@e0:p ActiveProcessLinks@e8:_LIST_ENTRY ObjectTable@160:*_HANDLE_TABLE Token@168:_EX_FAST_REF SectionBaseAddress@1d0:p InheritedFromUniqueProcessId@1f0:p ImageFileName@238:[16]u1 SeAuditProcessCreationInfo@2e8:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@260:_LIST_ENTRY ActiveThreads@280:u4 Peb@290:*_PEB Wow64Process@278:p VadRoot@380:_MM_AVL_TABLE',
    ],
    [
      '7600',
      '4d0 Pcb@0:_KPROCESS CreateTime@168:u8 ExitTime@170:u8 UniqueProcessId@180:p ActiveProcessLinks@188:_LIST_ENTRY ObjectTable@200:*_HANDLE_TABLE Token@208:_EX_FAST_REF SectionBaseAddress@270:p InheritedFromUniqueProcessId@290:p ImageFileName@2e0:[15]u1 SeAuditProcessCreationInfo@390:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@308:_LIST_ENTRY ActiveThreads@328:u4 Peb@338:*_PEB Wow64Process@320:p VadRoot@448:_MM_AVL_TABLE',
    ],
    [
      '7601.24000',
      '4f8 Pcb@0:_KPROCESS CreateTime@168:u8 ExitTime@170:u8 UniqueProcessId@180:p ActiveProcessLinks@188:_LIST_ENTRY ObjectTable@200:*_HANDLE_TABLE Token@208:_EX_FAST_REF SectionBaseAddress@270:p InheritedFromUniqueProcessId@290:p ImageFileName@2e0:[15]u1 SeAuditProcessCreationInfo@390:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@308:_LIST_ENTRY ActiveThreads@328:u4 Peb@338:*_PEB Wow64Process@320:p VadRoot@448:_MM_AVL_TABLE',
    ],
    [
      '9200',
      '660 Pcb@0:_KPROCESS CreateTime@2d0:u8 ExitTime@610:u8 UniqueProcessId@2e0:p ActiveProcessLinks@2e8:_LIST_ENTRY ObjectTable@408:*_HANDLE_TABLE Token@348:_EX_FAST_REF SectionBaseAddress@3b0:p InheritedFromUniqueProcessId@3d0:p ImageFileName@438:[15]u1 SeAuditProcessCreationInfo@450:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@470:_LIST_ENTRY ActiveThreads@480:u4 Peb@3e8:*_PEB Wow64Process@418:p VadRoot@590:_MM_AVL_TABLE',
    ],
    [
      '9600',
      '6b8 Pcb@0:_KPROCESS CreateTime@2d0:u8 ExitTime@640:u8 UniqueProcessId@2e0:p ActiveProcessLinks@2e8:_LIST_ENTRY ObjectTable@408:*_HANDLE_TABLE Token@348:_EX_FAST_REF SectionBaseAddress@3b0:p InheritedFromUniqueProcessId@3d0:p ImageFileName@438:[15]u1 SeAuditProcessCreationInfo@450:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@470:_LIST_ENTRY ActiveThreads@480:u4 Peb@3e8:*_PEB Wow64Process@418:p VadRoot@5d8:_RTL_AVL_TREE',
    ],
    [
      '10240',
      '798 Pcb@0:_KPROCESS CreateTime@308:u8 ExitTime@670:u8 UniqueProcessId@2e8:p ActiveProcessLinks@2f0:_LIST_ENTRY ObjectTable@418:*_HANDLE_TABLE Token@358:_EX_FAST_REF SectionBaseAddress@3c0:p InheritedFromUniqueProcessId@3e0:p ImageFileName@448:[15]u1 SeAuditProcessCreationInfo@460:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@480:_LIST_ENTRY ActiveThreads@490:u4 Peb@3f8:*_PEB Wow64Process@428:p VadRoot@608:_RTL_AVL_TREE',
    ],
    [
      '10240.17770',
      '7a8 Pcb@0:_KPROCESS CreateTime@308:u8 ExitTime@678:u8 UniqueProcessId@2e8:p ActiveProcessLinks@2f0:_LIST_ENTRY ObjectTable@418:*_HANDLE_TABLE Token@358:_EX_FAST_REF SectionBaseAddress@3c0:p InheritedFromUniqueProcessId@3e0:p ImageFileName@448:[15]u1 SeAuditProcessCreationInfo@460:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@480:_LIST_ENTRY ActiveThreads@490:u4 Peb@3f8:*_PEB Wow64Process@428:p VadRoot@608:_RTL_AVL_TREE',
    ],
    [
      '10586',
      '788 Pcb@0:_KPROCESS CreateTime@308:u8 ExitTime@678:u8 UniqueProcessId@2e8:p ActiveProcessLinks@2f0:_LIST_ENTRY ObjectTable@418:*_HANDLE_TABLE Token@358:_EX_FAST_REF SectionBaseAddress@3c0:p InheritedFromUniqueProcessId@3e0:p ImageFileName@450:[15]u1 SeAuditProcessCreationInfo@468:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@488:_LIST_ENTRY ActiveThreads@498:u4 Peb@3f8:*_PEB WoW64Process@428:*_EWOW64PROCESS VadRoot@610:_RTL_AVL_TREE',
    ],
    [
      '14393',
      '7b0 Pcb@0:_KPROCESS CreateTime@308:u8 ExitTime@688:u8 UniqueProcessId@2e8:p ActiveProcessLinks@2f0:_LIST_ENTRY ObjectTable@418:*_HANDLE_TABLE Token@358:_EX_FAST_REF SectionBaseAddress@3c0:p InheritedFromUniqueProcessId@3e0:p ImageFileName@450:[15]u1 SeAuditProcessCreationInfo@468:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@488:_LIST_ENTRY ActiveThreads@498:u4 Peb@3f8:*_PEB WoW64Process@428:*_EWOW64PROCESS VadRoot@620:_RTL_AVL_TREE',
    ],
    [
      '15063',
      '818 Pcb@0:_KPROCESS CreateTime@308:u8 ExitTime@690:u8 UniqueProcessId@2e0:p ActiveProcessLinks@2e8:_LIST_ENTRY ObjectTable@418:*_HANDLE_TABLE Token@358:_EX_FAST_REF SectionBaseAddress@3c0:p InheritedFromUniqueProcessId@3e0:p ImageFileName@450:[15]u1 SeAuditProcessCreationInfo@468:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@488:_LIST_ENTRY ActiveThreads@498:u4 Peb@3f8:*_PEB WoW64Process@428:*_EWOW64PROCESS VadRoot@628:_RTL_AVL_TREE',
    ],
    [
      '16299',
      '838 Pcb@0:_KPROCESS CreateTime@308:u8 ExitTime@690:u8 UniqueProcessId@2e0:p ActiveProcessLinks@2e8:_LIST_ENTRY ObjectTable@418:*_HANDLE_TABLE Token@358:_EX_FAST_REF SectionBaseAddress@3c0:p InheritedFromUniqueProcessId@3e0:p ImageFileName@450:[15]u1 SeAuditProcessCreationInfo@468:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@488:_LIST_ENTRY ActiveThreads@498:u4 Peb@3f8:*_PEB WoW64Process@428:*_EWOW64PROCESS VadRoot@628:_RTL_AVL_TREE',
    ],
    [
      '17134',
      '848 Pcb@0:_KPROCESS CreateTime@308:u8 ExitTime@690:u8 UniqueProcessId@2e0:p ActiveProcessLinks@2e8:_LIST_ENTRY ObjectTable@418:*_HANDLE_TABLE Token@358:_EX_FAST_REF SectionBaseAddress@3c0:p InheritedFromUniqueProcessId@3e0:p ImageFileName@450:[15]u1 SeAuditProcessCreationInfo@468:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@488:_LIST_ENTRY ActiveThreads@498:u4 Peb@3f8:*_PEB WoW64Process@428:*_EWOW64PROCESS VadRoot@628:_RTL_AVL_TREE',
    ],
    [
      '17763',
      '850 Pcb@0:_KPROCESS CreateTime@308:u8 ExitTime@690:u8 UniqueProcessId@2e0:p ActiveProcessLinks@2e8:_LIST_ENTRY ObjectTable@418:*_HANDLE_TABLE Token@358:_EX_FAST_REF SectionBaseAddress@3c0:p InheritedFromUniqueProcessId@3e0:p ImageFileName@450:[15]u1 SeAuditProcessCreationInfo@468:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@488:_LIST_ENTRY ActiveThreads@498:u4 Peb@3f8:*_PEB WoW64Process@428:*_EWOW64PROCESS VadRoot@628:_RTL_AVL_TREE',
    ],
    [
      '18362',
      '880 Pcb@0:_KPROCESS CreateTime@310:u8 ExitTime@6c0:u8 UniqueProcessId@2e8:p ActiveProcessLinks@2f0:_LIST_ENTRY ObjectTable@418:*_HANDLE_TABLE Token@360:_EX_FAST_REF SectionBaseAddress@3c8:p InheritedFromUniqueProcessId@3e8:p ImageFileName@450:[15]u1 SeAuditProcessCreationInfo@468:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@488:_LIST_ENTRY ActiveThreads@498:u4 Peb@3f8:*_PEB WoW64Process@428:*_EWOW64PROCESS VadRoot@658:_RTL_AVL_TREE',
    ],
    [
      '19041',
      'a40 Pcb@0:_KPROCESS CreateTime@468:u8 ExitTime@840:u8 UniqueProcessId@440:p ActiveProcessLinks@448:_LIST_ENTRY ObjectTable@570:*_HANDLE_TABLE Token@4b8:_EX_FAST_REF SectionBaseAddress@520:p InheritedFromUniqueProcessId@540:p ImageFileName@5a8:[15]u1 SeAuditProcessCreationInfo@5c0:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@5e0:_LIST_ENTRY ActiveThreads@5f0:u4 Peb@550:*_PEB WoW64Process@580:*_EWOW64PROCESS VadRoot@7d8:_RTL_AVL_TREE',
    ],
    [
      '26100',
      '840 Pcb@0:_KPROCESS CreateTime@1f8:u8 ExitTime@5c0:u8 UniqueProcessId@1d0:p ActiveProcessLinks@1d8:_LIST_ENTRY ObjectTable@300:*_HANDLE_TABLE Token@248:_EX_FAST_REF SectionBaseAddress@2b0:p InheritedFromUniqueProcessId@2d0:p ImageFileName@338:[15]u1 SeAuditProcessCreationInfo@350:_SE_AUDIT_PROCESS_CREATION_INFO ThreadListHead@370:_LIST_ENTRY ActiveThreads@380:u4 Peb@2e0:*_PEB WoW64Process@310:*_EWOW64PROCESS VadRoot@558:_RTL_AVL_TREE',
    ],
  ],
  _EWOW64PROCESS: [['10586', '10 Peb@0:p']],
  _SE_AUDIT_PROCESS_CREATION_INFO: [['3790.1', '8 ImageFileName@0:*_OBJECT_NAME_INFORMATION']],
  _OBJECT_NAME_INFORMATION: [['3790.1', '10 Name@0:_UNICODE_STRING']],
  _KPROCESS: [
    ['3790.1', 'b8 DirectoryTableBase@28:u8'],
    ['26100', '1c8 DirectoryTableBase@28:u8'],
  ],
  _ETHREAD: [
    [
      '3790.1',
      '428 Tcb@0:_KTHREAD CreateTime@320:u8 ExitTime@328:u8 StartAddress@3d8:p Cid@370:_CLIENT_ID Win32StartAddress@3e0:p ThreadListEntry@3e8:_LIST_ENTRY',
    ],
    [
      '3790.2',
      '410 Tcb@0:_KTHREAD CreateTime@308:u8 ExitTime@310:u8 StartAddress@3c0:p Cid@358:_CLIENT_ID Win32StartAddress@3c8:p ThreadListEntry@3d0:_LIST_ENTRY',
    ],
    [
      '6000',
      '450 Tcb@0:_KTHREAD CreateTime@330:u8 ExitTime@338:u8 StartAddress@358:p Cid@380:_CLIENT_ID Win32StartAddress@3e0:p ThreadListEntry@3f0:_LIST_ENTRY',
    ],
    [
      '7600',
      '498 Tcb@0:_KTHREAD CreateTime@360:u8 ExitTime@368:u8 StartAddress@388:p Cid@3b0:_CLIENT_ID Win32StartAddress@410:p ThreadListEntry@420:_LIST_ENTRY',
    ],
    [
      '7601.24000',
      '4a8 Tcb@0:_KTHREAD CreateTime@368:u8 ExitTime@370:u8 StartAddress@390:p Cid@3b8:_CLIENT_ID Win32StartAddress@418:p ThreadListEntry@428:_LIST_ENTRY',
    ],
    [
      '9200',
      '4d0 Tcb@0:_KTHREAD CreateTime@348:u8 ExitTime@350:u8 StartAddress@370:p Cid@398:_CLIENT_ID Win32StartAddress@3f0:p ThreadListEntry@400:_LIST_ENTRY',
    ],
    [
      '9600',
      '778 Tcb@0:_KTHREAD CreateTime@5d0:u8 ExitTime@5d8:u8 StartAddress@5f8:p Cid@620:_CLIENT_ID Win32StartAddress@678:p ThreadListEntry@688:_LIST_ENTRY',
    ],
    [
      '10240',
      '7c0 Tcb@0:_KTHREAD CreateTime@5d8:u8 ExitTime@5e0:u8 StartAddress@600:p Cid@628:_CLIENT_ID Win32StartAddress@680:p ThreadListEntry@690:_LIST_ENTRY',
    ],
    [
      '14393',
      '7e0 Tcb@0:_KTHREAD CreateTime@5e0:u8 ExitTime@5e8:u8 StartAddress@608:p Cid@630:_CLIENT_ID Win32StartAddress@688:p ThreadListEntry@698:_LIST_ENTRY',
    ],
    [
      '15063',
      '810 Tcb@0:_KTHREAD CreateTime@5e8:u8 ExitTime@5f0:u8 StartAddress@610:p Cid@638:_CLIENT_ID Win32StartAddress@690:p ThreadListEntry@6a0:_LIST_ENTRY',
    ],
    [
      '16299',
      '818 Tcb@0:_KTHREAD CreateTime@5f0:u8 ExitTime@5f8:u8 StartAddress@610:p Cid@638:_CLIENT_ID Win32StartAddress@690:p ThreadListEntry@6a8:_LIST_ENTRY',
    ],
    [
      '18362',
      '820 Tcb@0:_KTHREAD CreateTime@600:u8 ExitTime@608:u8 StartAddress@620:p Cid@648:_CLIENT_ID Win32StartAddress@6a0:p ThreadListEntry@6b8:_LIST_ENTRY',
    ],
    [
      '19041',
      '898 Tcb@0:_KTHREAD CreateTime@430:u8 ExitTime@438:u8 StartAddress@450:p Cid@478:_CLIENT_ID Win32StartAddress@4d0:p ThreadListEntry@4e8:_LIST_ENTRY',
    ],
    [
      '22000',
      '900 Tcb@0:_KTHREAD CreateTime@480:u8 ExitTime@488:u8 StartAddress@4a0:p Cid@4c8:_CLIENT_ID Win32StartAddress@520:p ThreadListEntry@538:_LIST_ENTRY',
    ],
    [
      '26100',
      '788 Tcb@0:_KTHREAD CreateTime@4c0:u8 ExitTime@4c8:u8 StartAddress@4e0:p Cid@508:_CLIENT_ID Win32StartAddress@560:p ThreadListEntry@578:_LIST_ENTRY',
    ],
  ],
  _KTHREAD: [
    ['3790.1', '320 Teb@b0:p State@154:u1'],
    ['7600', '360 Teb@b8:p State@164:u1'],
    ['9200', '348 Teb@f0:p State@184:u1'],
    ['22000', '480 Teb@f0:p State@184:u1'],
    ['26100', '4c0 Teb@f0:p State@184:u1'],
  ],
  _CLIENT_ID: [['3790.1', '10 UniqueProcess@0:p UniqueThread@8:p']],
  _LDR_DATA_TABLE_ENTRY: [
    [
      '3790.1',
      '98 InLoadOrderLinks@0:_LIST_ENTRY InMemoryOrderLinks@10:_LIST_ENTRY InInitializationOrderLinks@20:_LIST_ENTRY DllBase@30:p EntryPoint@38:p SizeOfImage@40:u4 FullDllName@48:_UNICODE_STRING BaseDllName@58:_UNICODE_STRING',
    ],
  ],
  _PEB: [
    [
      '3790.1',
      '358 BeingDebugged@2:u1 ImageBaseAddress@10:p Ldr@18:*_PEB_LDR_DATA ProcessParameters@20:*_RTL_USER_PROCESS_PARAMETERS',
    ],
  ],
  _PEB_LDR_DATA: [
    [
      '3790.1',
      '48 InLoadOrderModuleList@10:_LIST_ENTRY InMemoryOrderModuleList@20:_LIST_ENTRY InInitializationOrderModuleList@30:_LIST_ENTRY',
    ],
  ],
  _RTL_USER_PROCESS_PARAMETERS: [['3790.1', '3f0 ImagePathName@60:_UNICODE_STRING CommandLine@70:_UNICODE_STRING']],
  _HANDLE_TABLE: [
    ['3790.1', '70 TableCode@0:u8 NextHandleNeedingPool@64:u4'],
    ['6000', '60 TableCode@0:u8 NextHandleNeedingPool@5c:u4'],
    ['9200', '80 TableCode@8:u8 NextHandleNeedingPool@0:u4'],
  ],
  _HANDLE_TABLE_ENTRY: [
    ['3790.1', '10 Object@0:p GrantedAccess@8:u4'],
    ['9200', '10 ObjectPointerBits@0:u8:23-64 GrantedAccessBits@8:u4:0-25'],
    ['9600', '10 ObjectPointerBits@0:u8:20-64 GrantedAccessBits@8:u4:0-25'],
  ],
  _OBJECT_HEADER: [
    ['3790.1', '38 Type@10:*_OBJECT_TYPE NameInfoOffset@18:u1 Body@30:u8'],
    ['7600', '38 TypeIndex@18:u1 InfoMask@1a:u1 Body@30:u8'],
  ],
  _OBJECT_HEADER_NAME_INFO: [['3790.1', '20 Name@8:_UNICODE_STRING']],
  _OBJECT_HEADER_CREATOR_INFO: [['3790.1', '20 TypeList@0:_LIST_ENTRY']],
  _OBJECT_TYPE: [
    ['3790.1', '2c0 Name@78:_UNICODE_STRING Index@90:u4'],
    ['6001', '238 Name@10:_UNICODE_STRING Index@28:u4'],
    ['7600', 'd0 Name@10:_UNICODE_STRING Index@28:u1'],
  ],
  _FILE_OBJECT: [['3790.1', 'b8 DeviceObject@8:p FileName@58:_UNICODE_STRING']],
  _MMVAD: [
    [
      '3790.1',
      '50 StartingVpn@18:u8 EndingVpn@20:u8 LeftChild@8:*_MMVAD RightChild@10:*_MMVAD u@28:_MMVAD_U ControlArea@30:*_CONTROL_AREA',
    ],
    [
      '6000',
      '60 StartingVpn@18:u8 EndingVpn@20:u8 LeftChild@8:*_MMVAD RightChild@10:*_MMVAD u@28:_MMVAD_U Subsection@48:*_SUBSECTION',
    ],
    ['9200', '80 Core@0:_MMVAD_SHORT Subsection@48:*_SUBSECTION'],
  ],
  _MMVAD_SHORT: [
    ['3790.1', '30 StartingVpn@18:u8 EndingVpn@20:u8 u@28:_MMVAD_U'],
    ['9200', '40 VadNode@0:_MM_AVL_NODE StartingVpn@18:u4 EndingVpn@1c:u4 u@28:_MMVAD_U'],
    [
      '9600',
      '40 VadNode@0:_RTL_BALANCED_NODE StartingVpn@18:u4 EndingVpn@1c:u4 StartingVpnHigh@20:u1 EndingVpnHigh@21:u1 u@30:_MMVAD_U',
    ],
  ],
  _MMVAD_FLAGS: [
    ['3790.1', '8 VadType@0:u8:52-55 Protection@0:u8:56-61 PrivateMemory@0:u8:63-64'],
    ['9200', '4 VadType@0:u4:0-3 Protection@0:u4:3-8 PrivateMemory@0:u4:15-16'],
    ['17134', '4 VadType@0:u4:0-3 Protection@0:u4:3-8 PrivateMemory@0:u4:14-15'],
    ['18362', '4 VadType@0:u4:4-7 Protection@0:u4:7-12 PrivateMemory@0:u4:20-21'],
    ['26100', '4 VadType@0:u4:4-7 Protection@0:u4:7-12 PrivateMemory@0:u4:21-22'],
  ],
  _MMADDRESS_NODE: [['3790.1', '28 LeftChild@8:*_MMADDRESS_NODE RightChild@10:*_MMADDRESS_NODE']],
  _MM_AVL_NODE: [['9200', '18 LeftChild@8:*_MM_AVL_NODE RightChild@10:*_MM_AVL_NODE']],
  _MM_AVL_TABLE: [
    ['3790.1', '40 BalancedRoot@0:_MMADDRESS_NODE'],
    ['9200', '30 BalancedRoot@0:_MM_AVL_NODE'],
  ],
  _RTL_AVL_TREE: [['7601.24000', '8 Root@0:*_RTL_BALANCED_NODE']],
  _RTL_BALANCED_NODE: [['7601.24000', '18 Left@0:*_RTL_BALANCED_NODE Right@8:*_RTL_BALANCED_NODE']],
  _SUBSECTION: [['3790.1', '30 ControlArea@0:*_CONTROL_AREA']],
  _CONTROL_AREA: [
    ['3790.1', '48 FilePointer@30:*_FILE_OBJECT'],
    ['6000', '60 FilePointer@30:_EX_FAST_REF'],
    ['6001', '70 FilePointer@40:_EX_FAST_REF'],
  ],
  _EX_FAST_REF: [['3790.1', '8 Object@0:p']],
  _MMVAD_U: [['3790.1', '8 VadFlags@0:_MMVAD_FLAGS']],
};
